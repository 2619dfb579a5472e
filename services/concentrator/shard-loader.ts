/** Filling a shard from Redis: every SA into the records and onto the thread, as its former owner left it. */

import type { FormerOwners, LeftOut } from '../../workers/protocol.ts';
import { readSaHead } from '../../workers/sa-message.ts';
import { type PageRow, packPage } from '../../workers/sa-page.ts';
import { VaultError } from '../../workers/vault.ts';
import type { Logger } from '../log.ts';
import { wordsFromHex } from '../spi.ts';
import type { ShardStore, StoredSa } from '../store/shard-store.ts';
import type { ShardRecords } from './records.ts';
import type { ShardTaskHandle } from './shard-thread.ts';
import type { Sites } from './sites.ts';

/** Pages on their way to the thread at once: more would wait there. */
const WINDOW = 4;

export type LoadContext = {
  readonly store: Pick<ShardStore, 'readSas' | 'readDead'>;
  readonly records: ShardRecords;
  readonly task: Pick<ShardTaskHandle, 'send' | 'resume'>;
  readonly sites: Sites;
  readonly log: Logger;
};

/** Loads every SA of a shard. Rejects as the store does, or with VaultError if keys were sealed with another vault key. */
export async function loadSas(context: LoadContext, former: FormerOwners): Promise<void> {
  const { store, task } = context;
  const dead = await store.readDead();
  task.send({ type: 'takeOver', former });
  const pages: Promise<void>[] = [];
  for await (const page of store.readSas()) {
    if (pages.length === WINDOW) await pages.shift();
    const rows: PageRow[] = [];
    for (const stored of page) {
      const row = record(context, stored, dead.size > 0 && dead.has(String(stored.spi)));
      if (row) rows.push(row);
    }
    const resumed = task.resume(packPage(rows)).then((leftOut) => leaveOut(context, leftOut));
    // Whoever fails first is waited for in his turn.
    resumed.catch(() => {});
    pages.push(resumed);
  }
  await Promise.all(pages);
  task.send({ type: 'takeOver', former: undefined });
}

/** Enters an SA into the records. One that cannot be read is left out: its headend finds it lost, and rekeys it. */
function record({ records, sites, log }: LoadContext, stored: StoredSa, dead: boolean): PageRow | undefined {
  const { spi, sa, keys } = stored;
  try {
    const { revision, site: label } = readSaHead(sa);
    const site = sites.number(label);
    return { handle: records.put(wordsFromHex(spi), revision, site, sa), site, dead, sa, keys };
  } catch (error) {
    log.error({ sa: String(spi), reason: (error as Error).name }, LEFT_OUT);
    return undefined;
  }
}
const LEFT_OUT = 'SA left out: what Redis has of it cannot be read';

/** Forgets what the thread could not read. Throws VaultError if it could open no keys at all. */
function leaveOut({ records, log }: LoadContext, { handles, opened, sealed }: LeftOut): void {
  if (sealed > 0 && opened === 0) throw new VaultError('sealed with another vault key, or damaged');
  for (const handle of handles) {
    log.error({ sa: records.spi(handle) }, LEFT_OUT);
    records.remove(handle);
  }
}
