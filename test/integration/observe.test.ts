import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService, type ShardCounters } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action } from '../../proto/gen/dpd/v1/types_pb.js';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, Rig } from './rig.ts';

test('observed: each death is told with what it would have done, nothing is applied, and who comes back is counted', async (t) => {
  const rig = await Rig.start({ spokes: 6, policy: { action: Action.RESTART, observe: true, source: 'label trial' } });
  t.after(() => rig.stop());
  await rig.startAgent();
  const sum = async (name: keyof ShardCounters) => {
    const { shards } = await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
    return shards.reduce((total, shard) => total + Number(shard[name]), 0);
  };
  rig.responder.kill(1, 0);
  rig.responder.kill(4, 0);
  await eventually('both deaths are told', 10_000, () => rig.verdicts.length === 2);
  for (const { action, observed, peerId } of rig.verdicts)
    assert.deepEqual([action, observed, /^spoke-[14]$/.test(peerId)], [Action.NOTIFY, Action.RESTART, true]);
  // No SA is gone, and the dead are not told a second time.
  await sleep(2 * DETECTION_MS);
  assert.deepEqual([await sum('peers'), await sum('dead'), await sum('verdictsTold')], [6, 2, 2]);
  assert.equal(rig.verdicts.length, 2);

  rig.responder.revive(4, 0);
  await eventually('one is back', 10_000, async () => (await sum('deadReturned')) === 1);
  assert.deepEqual([await sum('alive'), await sum('dead')], [5, 1]);
  rig.responder.kill(4, 0);
  await eventually('its next death is told', 10_000, () => rig.verdicts.length === 3);
  const { peers } = await rig.client.unary(OperatorService.method.getPeer, { headend: HEADEND, peerId: 'spoke-4' });
  assert.deepEqual([peers.length, peers[0]!.sa!.policy!.source], [1, 'label trial']);
});
