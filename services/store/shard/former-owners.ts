/** Reads what former owners left of a shard in Redis: a foreign or damaged part is skipped. */

import { RecordError } from '../../../workers/base/errors.ts';
import { PARKED_ID } from '../../../workers/ikev2/header.ts';
import { type FormerOwners, ROW_LENGTH, type Translated } from '../../../workers/takeover/checkpoint.ts';
import { type ShardId, shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';

const CHUNK = /^(\d{1,15}):\d{1,7}$/;
const TIME = /^\d{1,15}$/;
const SPI_PAIR = /^[0-9a-f]{32}$/;
const IDS = /^(\d{1,10}):(\d{1,10})$/;
/** Age of a checkpoint whose time cannot be read, ms: a former owner may have asked all the time. */
const LONG_AGO_MS = 86_400_000;

export type StoredFormer = {
  /** Fields of the checkpoint's hash. */
  readonly checkpoint: Readonly<Record<string, Buffer>>;
  /** Fields of the hash of requests sent on. */
  readonly translated: Readonly<Record<string, string>>;
};

/** @param nowUnix by Redis's clock */
export function readFormer(
  id: ShardId,
  { checkpoint: { at, taken, ...chunks }, translated }: StoredFormer,
  nowUnix: number,
  refused: OnRefused,
): FormerOwners {
  const keys = shardKeys(id);
  const times = readTimes(at, taken);
  if (!times) refused(new RecordError(keys.checkpoint, 'says no time'));
  return {
    headend: id.headend,
    chunks: Object.entries(chunks).flatMap(([field, bytes]) => {
      const [, epoch] = CHUNK.exec(field) ?? [];
      if (epoch !== undefined && bytes.length % ROW_LENGTH === 0) return [{ epoch: Number(epoch), bytes }];
      refused(new RecordError(keys.checkpoint, `${JSON.stringify(field.slice(0, 40))} is no chunk`));
      return [];
    }),
    translated: new Map(
      Object.entries(translated).flatMap(([spi, text]) => {
        const ids = readIds(text);
        if (ids && SPI_PAIR.test(spi)) return [[spi, ids] as const];
        refused(new RecordError(keys.translated, `${JSON.stringify(spi.slice(0, 40))} has no ids of a request`));
        return [];
      }),
    ),
    atUnix: times?.atUnix ?? nowUnix - LONG_AGO_MS,
    ageMs: times ? Math.max(0, nowUnix - times.takenUnix) : LONG_AGO_MS,
  };
}

/** When the checkpoint was made, by its owner's clock and by Redis's; an empty one that no owner has written has no such time. */
function readTimes(
  at: Buffer | undefined,
  taken: Buffer | undefined,
): { readonly atUnix: number; readonly takenUnix: number } | undefined {
  const [atText, takenText] = [String(at ?? 0), String(taken)];
  return TIME.test(atText) && TIME.test(takenText)
    ? { atUnix: Number(atText), takenUnix: Number(takenText) }
    : undefined;
}

/** The daemon's id of a request, and the id under which its spoke got it; undefined if they are invalid. */
function readIds(text: string): Translated | undefined {
  const [, daemonId, id] = (IDS.exec(text) ?? []).map(Number);
  if (daemonId === undefined || id === undefined) return undefined;
  return daemonId >= PARKED_ID && daemonId < 2 * PARKED_ID && id < PARKED_ID ? { daemonId, id } : undefined;
}
