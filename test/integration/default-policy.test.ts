import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedHeadend } from '../../loadtest/headend/simulated.ts';
import { Mode, type Policy } from '../../proto/gen/dpd/v1/types_pb.js';
import type { HeldSa, ProbeSource } from '../../services/agent/headend/headend.ts';
import { eventually } from '../eventually.ts';
import { localAgent, Rig, SHARDS } from './rig.ts';

test('a node tells the cluster’s own policy to each agent that connects', async (t) => {
  const rig = await Rig.start({
    spokes: 1,
    nodeEnv: { DPD_DEFAULT_POLICY: '{"preset": "fortios-on-demand", "intervalMs": 7000}' },
  });
  t.after(() => rig.stop());
  const told: (Policy | undefined)[] = [];
  class Listening extends SimulatedHeadend {
    override connected(shard: number, probe: ProbeSource, _held?: readonly HeldSa[], common?: Policy): void {
      told.push(common);
      super.connected(shard, probe);
    }
  }
  const headend = new Listening({ sas: [rig.sa(0)], failOver: () => undefined }, { share: 0, everyMs: 1_000 });
  rig.agent = localAgent([rig.address], headend);
  await headend.start(rig.agent);
  await eventually('every shard is connected', 20_000, () => told.length === SHARDS);
  for (const policy of told)
    assert.deepEqual(
      [policy?.mode, policy?.intervalMs, policy?.retryScheduleMs],
      [Mode.ON_DEMAND, 7_000, [3_000, 6_000, 12_000, 24_000, 48_000]],
    );
});
