/** Filling a shard from Redis: every SA into the records and onto the thread, as its former owner left it. */

import { fromBinary } from '@bufbuild/protobuf';
import { SaKeysSchema, SaSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import type { ShardSa } from '../../workers/protocol.ts';
import type { Logger } from '../log.ts';
import { spiFromHex } from '../spi.ts';
import type { Checkpoint, ShardStore, StoredSa } from '../store/shard-store.ts';
import type { ShardRecords } from './records.ts';
import { resume } from './shard-sa.ts';
import type { ShardTaskHandle } from './shard-thread.ts';
import type { Sites } from './sites.ts';

export type LoadContext = {
  readonly store: Pick<ShardStore, 'readSas' | 'readDead'>;
  readonly records: ShardRecords;
  readonly task: Pick<ShardTaskHandle, 'send'>;
  readonly sites: Sites;
  readonly log: Logger;
};

/** Loads every SA of a shard. Rejects as the store does. */
export async function loadSas(context: LoadContext, checkpoint: Checkpoint): Promise<void> {
  const { store, task } = context;
  const dead = await store.readDead();
  for await (const page of store.readSas()) {
    const sas = page.flatMap((stored) => take(context, stored, checkpoint, dead.has(stored.spi)) ?? []);
    task.send({ type: 'upsert', sas });
  }
}

/** One that cannot be read is left out: its headend finds it lost, and rekeys it. */
function take(
  { records, sites, log }: LoadContext,
  { spi, sa: encoded, keys: encodedKeys }: StoredSa,
  checkpoint: Checkpoint,
  dead: boolean,
): ShardSa | undefined {
  let handle = -1;
  try {
    const sa = fromBinary(SaSchema, encoded);
    const keys = encodedKeys && fromBinary(SaKeysSchema, encodedKeys);
    const site = sites.number(sa.site);
    handle = records.put(spiFromHex(spi), sa.revision, site, encoded);
    return resume(handle, { spi, sa, keys }, checkpoint, { dead, site });
  } catch (error) {
    if (handle >= 0) records.remove(handle);
    log.error({ sa: spi, reason: (error as Error).name }, 'SA left out: what Redis has of it cannot be read');
    return undefined;
  }
}
