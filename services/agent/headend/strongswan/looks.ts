/**
 * Looks at single SAs as charon has them. charon goes through all of its SAs for each single request: so if many SAs are looked at,
 * one list serves for all.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { ListedSa } from './vici/sas.ts';

/** For at least so many SAs the whole list is requested. */
export const MANY = 25;
/** After so many looks more are expected, and are waited for, ms. */
const GATHER_MS = 200;

/** An SA to be looked at: charon's number of it, as far as that is known. */
export type Lookable = { readonly spi: string; readonly uniqueId: string | undefined };
/** The wanted SAs as charon has them now: of all SAs, or the one with that number. Rejects if charon cannot be asked. */
export type ListSas = (wanted: (sa: ListedSa) => boolean, uniqueId?: string) => Promise<readonly ListedSa[]>;

/** Looks at some. Returns those of them that charon has, by SPI pair. Rejects as `list` does. */
export async function lookAt(list: ListSas, sas: readonly Lookable[]): Promise<ReadonlyMap<string, ListedSa>> {
  const spis = new Set(sas.map(({ spi }) => spi));
  const wanted = ({ spi }: ListedSa) => spis.has(spi);
  const found: ListedSa[] = [];
  if (sas.length >= MANY || sas.some(({ uniqueId }) => uniqueId === undefined)) found.push(...(await list(wanted)));
  else for (const { uniqueId } of sas) found.push(...(await list(wanted, uniqueId)));
  return new Map(found.map((sa) => [sa.spi, sa]));
}

type Waiting = Lookable & {
  readonly resolve: (sa: ListedSa | undefined) => void;
  readonly reject: (error: unknown) => void;
};

/** Single looks, combined if there are many. */
export class Looks {
  readonly #list: ListSas;
  #waiting: Waiting[] = [];
  #working = false;

  constructor(list: ListSas) {
    this.#list = list;
  }

  /** The SA as charon has it, looked at after this was called; undefined: it has none. Rejects if charon cannot be asked. */
  find(sa: Lookable): Promise<ListedSa | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<ListedSa | undefined>();
    this.#waiting.push({ ...sa, resolve, reject });
    if (!this.#working) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#working = true;
    // Looks for one batch of verdicts come in one turn.
    await sleep(0);
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        const listed = await lookAt(this.#list, batch);
        for (const { spi, resolve } of batch) resolve(listed.get(spi));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
      if (batch.length >= MANY) await sleep(GATHER_MS);
    }
    this.#working = false;
  }
}
