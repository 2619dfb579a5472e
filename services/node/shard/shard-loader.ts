/** Filling a shard from Redis: every SA into the records and onto the thread, as its former owner left it. */

import { SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { VaultError } from '../../../workers/base/errors.ts';
import { NO_HANDLE } from '../../../workers/sa/ids.ts';
import { isPlain, planOf } from '../../../workers/sa/plain-form.ts';
import { readSaHead } from '../../../workers/sa/sa-message.ts';
import { RecordCursor, type SaPage } from '../../../workers/sa/sa-page.ts';
import type { Abandoned, LeftOut } from '../../../workers/shard/intake.ts';
import type { FormerOwners } from '../../../workers/takeover/checkpoint.ts';
import { wordsFromHex } from '../../api/spi.ts';
import type { Logger } from '../../base/log.ts';
import type { ShardStore, StoredPage } from '../../store/shard/shard-store.ts';
import type { ShardRecords } from '../records/records.ts';
import type { Sites } from '../records/sites.ts';
import type { ShardTaskHandle } from './shard-thread.ts';

/** All later readers understand only plain encodings in the same way. */
const PLAN = planOf(SaSchema);
const UNREADABLE = 'SA left out: what Redis has of it cannot be read';
/** Hex digits of an SPI pair. */
const SPI_LENGTH = 32;
/** Pages on their way to the thread at once: more would wait there. */
const WINDOW = 4;

export type LoadContext = {
  readonly store: Pick<ShardStore, 'readSas' | 'readDead' | 'removeSas'>;
  readonly records: ShardRecords;
  readonly task: Pick<ShardTaskHandle, 'send' | 'resume'>;
  readonly sites: Sites;
  readonly log: Logger;
};

/**
 * Loads every SA of a shard that can be watched, and removes the others from Redis. Rejects as the store does, or with
 * VaultError if keys were sealed with another vault key.
 */
export async function loadSas(context: LoadContext, former: FormerOwners): Promise<void> {
  const { store, task } = context;
  const leftOut: string[] = [];
  const dead = await store.readDead();
  task.send({ type: 'takeOver', former });
  const pages: Promise<unknown>[] = [];
  for await (const stored of store.readSas()) {
    if (pages.length === WINDOW) await pages.shift();
    const resumed = task
      .resume(enter(context, stored, dead, leftOut))
      .then((page) => leftOut.push(...leaveOut(context, page)));
    // A failure is thrown when its turn comes.
    resumed.catch(() => {});
    pages.push(resumed);
  }
  await Promise.all(pages);
  await store.removeSas(leftOut);
  task.send({ type: 'takeOver', former: undefined });
}

/** Enters SAs into the records. An SA that cannot be read is left out: its headend finds it missing, and registers it again. */
function enter(
  { records, sites, log }: LoadContext,
  stored: StoredPage,
  dead: ReadonlySet<string>,
  leftOut: string[],
): SaPage {
  const { spis } = stored;
  const count = spis.length / SPI_LENGTH;
  const page = {
    handles: new Uint32Array(count),
    sites: new Uint16Array(count),
    dead: new Uint8Array(count),
    ...stored.records,
  };
  for (const cursor = new RecordCursor(page); cursor.next(); ) {
    const { row: n, reader, saEnd } = cursor;
    const from = reader.pos;
    try {
      const spi = wordsFromHex(spis, n * SPI_LENGTH);
      if (!isPlain(reader, PLAN, saEnd)) throw new RangeError('not encoded plainly');
      reader.pos = from;
      const head = readSaHead(reader, saEnd);
      if (spi.some((word, k) => word !== head.spi[k])) throw new RangeError('of another SA');
      page.sites[n] = sites.number(head.site);
      reader.pos = from;
      page.handles[n] = records.put(spi, head.revision, page.sites[n]!, reader, saEnd);
    } catch (error) {
      page.handles[n] = NO_HANDLE;
      leftOut.push(spiAt(spis, n));
      log.error({ sa: spiAt(spis, n), reason: (error as Error).message }, UNREADABLE);
    }
    if (dead.size > 0 && dead.has(spiAt(spis, n))) page.dead[n] = 1;
  }
  return page;
}

function spiAt(spis: Buffer, n: number): string {
  return spis.toString('latin1', n * SPI_LENGTH, (n + 1) * SPI_LENGTH);
}

/** Forgets what the thread cannot watch. Returns the SPI pairs. Throws VaultError if it could open no keys at all. */
function leaveOut({ records, log }: LoadContext, leftOut: LeftOut): string[] {
  if (leftOut.sealed > 0 && leftOut.opened === 0) throw new VaultError('sealed with another vault key, or damaged');
  const spis = tellAbandoned(log, records, leftOut);
  for (const handle of leftOut.unreadable) records.remove(handle);
  return spis;
}

/** Says in the log which SAs are not watched any more. Returns their SPI pairs. */
export function tellAbandoned(log: Logger, records: ShardRecords, { unreadable }: Abandoned): string[] {
  for (const handle of unreadable) log.error({ sa: records.spi(handle) }, UNREADABLE);
  return unreadable.map((handle) => records.spi(handle));
}
