/** After Redis failed over and lost its last writes, or came back empty, a shard's owner writes everything again from its memory. */

import { State } from '../../../workers/liveness/peers.ts';

import type { ShardPath } from '../../../workers/path/ways.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';
import type { ShardRecords } from '../records/records.ts';
import type { VerdictDesk } from '../verdicts/verdict-desk.ts';
import type { ShardTaskHandle } from './shard-thread.ts';

/** SAs written in one step. */
const PAGE = 500;

export type Damaged = {
  readonly store: Pick<ShardStore, 'writeSas' | 'removeSas' | 'readSpis' | 'writePath' | 'readDead'>;
  readonly records: ShardRecords;
  readonly task: Pick<ShardTaskHandle, 'ask' | 'send'>;
  readonly path: ShardPath | undefined;
  readonly verdicts: Pick<VerdictDesk, 'gave' | 'writeAgain'>;
};

/** Makes Redis hold what the owner holds, and no more. Rejects as the store does; then call again. */
export async function writeAgain({ store, records, task, path, verdicts }: Damaged): Promise<void> {
  const handles = [...records.handles()];
  const deadHere: number[] = [];
  for (let n = 0; n < handles.length; n += PAGE) {
    const page = handles.slice(n, n + PAGE);
    const [keys, statuses] = await Promise.all([task.ask('sealedKeys', page), task.ask('query', page)]);
    deadHere.push(...page.filter((_, k) => statuses[k]!.state === State.DEAD));
    await store.writeSas(
      page.flatMap((handle, k) => {
        const sa = records.encoded(handle);
        return sa ? [{ spi: records.spi(handle), sa, keys: keys[k] }] : [];
      }),
      [],
    );
  }
  // Redis may also have lost a removal.
  const surplus = (await store.readSpis()).filter((spi) => records.findHex(spi) < 0);
  await store.removeSas(surplus);
  if (path) await store.writePath(path);
  // Redis may also have lost a revival: an SA that still counts as dead would never get a verdict again.
  const dead = await store.readDead();
  const held = [...dead].filter((spi) => records.findHex(spi) >= 0);
  const statuses = await task.ask(
    'query',
    held.map((spi) => records.findHex(spi)),
  );
  verdicts.writeAgain(held.filter((_, n) => statuses[n]!.state !== State.DEAD));
  // If Redis has lost a former owner's verdict, no owner has it any more: its peer is suspected anew.
  const unknown = deadHere.filter((handle) => {
    const spi = records.has(handle) && records.spi(handle);
    return spi && !dead.has(spi) && !verdicts.gave(spi);
  });
  if (unknown.length === 0) return;
  task.send({ type: 'hold', handles: unknown });
  task.send({ type: 'endHold', handles: unknown, asked: false });
}
