import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FeedGaps } from '../../../../../services/agent/headend/strongswan/feed-gaps.ts';
import type { ListedSa } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';
import { createLogger } from '../../../../../services/base/log.ts';

/** An SA that charon lists; the rules know it by its number. */
function listed(n: number): ListedSa {
  const spiR = Buffer.alloc(8);
  spiR.writeUInt32BE(n, 4);
  const remote = { address: '192.0.2.10', port: n };
  return { spi: `spi-${n}`, uniqueId: `${n}`, id: { spiR }, remoteId: `spoke${n}`, remote } as unknown as ListedSa;
}
const SAS = (count: number) => Array.from({ length: count }, (_, n) => listed(n + 1));

function rig() {
  const done: string[] = [];
  const gaps = new FeedGaps({
    resync: async () => done.push('resync') > 0,
    lost: async () => 0,
    rekey: async (uniqueId) => done.push(uniqueId),
    leaveOut: ({ uniqueId }) => done.push(`left out: ${uniqueId}`),
    log: createLogger('test', 'silent'),
  });
  const poll = (sas: readonly ListedSa[], told: (sa: ListedSa) => boolean = () => false) => gaps.close(sas, told);
  return { gaps, done, poll };
}

test('an SA that the feed does not tell of is rekeyed after a second look, once', async () => {
  const { gaps, done, poll } = rig();
  await poll([listed(1), listed(2)], ({ spi }) => spi === 'spi-2');
  assert.deepEqual([done, gaps.any], [[], true]);
  await poll([listed(1), listed(2)], ({ spi }) => spi === 'spi-2');
  assert.deepEqual([done, gaps.any], [['1'], false]);
  await poll([listed(1)]);
  await poll([]);
  assert.deepEqual([done, gaps.any], [['1'], false], 'one that is gone');
});

test('one that rekeying did not bring is left out, and not rekeyed again', async () => {
  const { done, poll } = rig();
  for (let n = 0; n < 4; n++) await poll([listed(1)]);
  assert.deepEqual(done, ['1', 'left out: 1']);
});

test('for many, charon is asked for all, and not again at once', async () => {
  const { done, poll } = rig();
  for (let n = 0; n < 5; n++) await poll(SAS(60));
  assert.deepEqual(done, ['resync']);
});

test('one that may be parked is not rekeyed: its request would come to a shard without its keys', async () => {
  const { gaps, done, poll } = rig();
  gaps.setSteered(new Set([1]));
  for (let n = 0; n < 3; n++) await poll(SAS(2));
  assert.deepEqual(done, ['resync']);
});
