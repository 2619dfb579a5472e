/**
 * Takes SAs into a shard and out of it: into Redis first, then into the records, then to the thread. So neither records nor
 * thread have an SA that Redis does not have.
 */

import type { UpsertSas } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { packKeys, unpackKeys } from '../../../workers/keys/keys-page.ts';
import { NO_MID } from '../../../workers/sa/ids.ts';
import { MessageReader } from '../../../workers/sa/message-reader.ts';
import { buffersOf, packPage, type SaBytes } from '../../../workers/sa/sa-page.ts';
import { type SpiPair, type SpiWords, spiFromHex, spiHex, spiWords, wordsHex } from '../../api/spi.ts';
import { markAlive } from '../../store/cluster/dead-endpoints.ts';
import type { RedisClient } from '../../store/redis/redis.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';
import type { Sites } from '../records/sites.ts';
import type { ThreadKeeper } from './thread-keeper.ts';

/** SAs left out in one step. */
const REMOVED = 500;

export type RegistrarContext = {
  readonly store: Pick<ShardStore, 'writeSas'>;
  readonly redis: RedisClient;
  readonly sites: Sites;
  readonly thread: ThreadKeeper;
  /** Throws if SAs may not change now. */
  readonly refuse: () => void;
  /** Waits for what Redis may refuse. */
  readonly unlessFenced: <T>(step: Promise<T>) => Promise<T>;
  /** The SA is held no more. */
  readonly removed: (handle: number, spi: string) => void;
};

export class SaRegistrar {
  readonly #context: RegistrarContext;
  /** SPI pairs of SAs that the thread does not watch any more. */
  readonly #abandoned = new Set<string>();

  constructor(context: RegistrarContext) {
    this.#context = context;
  }

  /**
   * Writes SAs to Redis, then has them watched. Returns their handles. On error nothing has changed.
   * @param bytes of each SA, as they are stored
   */
  async upsert(sas: UpsertSas['sas'], bytes: readonly SaBytes[]): Promise<number[]> {
    const { store, redis, sites, thread, refuse } = this.#context;
    if (bytes.length !== sas.length) throw new RangeError(`bytes of ${bytes.length} SAs for ${sas.length}`);
    refuse();
    const spis = sas.map(({ id }) => spiWords(id!));
    const sealed = await this.#seal(spis, bytes);
    await this.#withThread(
      store.writeSas(
        spis.map((spi, n) => ({ spi: wordsHex(spi), sa: bytes[n]!.sa, keys: sealed[n] })),
        [],
      ),
    );
    const rows = sas.map((sa, n) => {
      const site = sites.number(sa.site);
      const handle = thread.records.put(spis[n]!, sa.revision, site, new MessageReader(bytes[n]!.sa));
      return { handle, site, dead: false, ...bytes[n]! };
    });
    const page = packPage(rows);
    thread.task.send({ type: 'upsert', page }, buffersOf(page));
    // An SA that came up shows that its endpoint lives. This is only a hint, so nothing waits for it.
    const endpoints = sas.map(({ endpoints: all, activeEndpoint }) => all[activeEndpoint]!);
    markAlive(redis, endpoints).catch(() => {});
    return rows.map(({ handle }) => handle);
  }

  /** Forgets SAs. Returns the next message id of each, {@link NO_MID} where it is not known for certain. */
  async remove(ids: readonly SpiPair[]): Promise<number[]> {
    const { store, thread, refuse, removed } = this.#context;
    refuse();
    const { records } = thread;
    const handles = ids.map((id) => records.find(id));
    const known = handles.filter((handle) => handle >= 0);
    await this.#withThread(store.writeSas([], ids.map(spiHex)));
    const mids = await this.#withThread(thread.task.ask('remove', known));
    known.forEach((handle) => {
      removed(handle, records.spi(handle));
      records.remove(handle);
    });
    const byHandle = new Map(known.map((handle, n) => [handle, mids[n]!]));
    return handles.map((handle) => byHandle.get(handle) ?? NO_MID);
  }

  /** The thread does not watch these any more: SPI pairs in hex. */
  abandon(spis: readonly string[]): void {
    for (const spi of spis) this.#abandoned.add(spi);
  }

  /**
   * Forgets what is not watched any more: its headend finds it lost when it comes back, and rekeys it. Returns how many there
   * were. Rejects as the store does; then call again.
   */
  async leaveOut(): Promise<number> {
    const spis = [...this.#abandoned];
    for (let n = 0; n < spis.length; n += REMOVED) await this.remove(spis.slice(n, n + REMOVED).map(spiFromHex));
    for (const spi of spis) this.#abandoned.delete(spi);
    return spis.length;
  }

  /** Has the thread, which has more time, seal the keys of each SA that has some. */
  async #seal(spis: readonly SpiWords[], bytes: readonly SaBytes[]): Promise<(Uint8Array | undefined)[]> {
    const rows = bytes.flatMap(({ keys }, n) => (keys ? [{ spi: spis[n]!, keys }] : []));
    if (rows.length === 0) return bytes.map(() => undefined);
    const sealed = unpackKeys(await this.#withThread(this.#context.thread.task.seal(packKeys(rows)))).values();
    return bytes.map(({ keys }) => keys && sealed.next().value!.keys);
  }

  /** Waits for a step of a change. The step is void if the thread died meanwhile. */
  #withThread<T>(step: Promise<T>): Promise<T> {
    const { thread, unlessFenced } = this.#context;
    return thread.outlive(unlessFenced(step));
  }
}
