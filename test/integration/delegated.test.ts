import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { SimulatedHeadend } from '../../loadtest/headend/simulated.ts';
import { OperatorService, PeerState } from '../../proto/gen/dpd/v1/operator_pb.js';
import { type Sa, SaSchema, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, localAgent, Rig } from './rig.ts';

test('without keys the headend is asked to probe; silence is a verdict, an absent headend is not', async (t) => {
  const rig = await Rig.start({ spokes: 4 });
  t.after(() => rig.stop());
  const silent = new Set<string>();
  const verdicts: Verdict[] = [];
  let probes = 0;
  class Prober extends SimulatedHeadend {
    override async probe(sa: Sa): Promise<boolean> {
      probes++;
      return !silent.has(sa.peerId);
    }
  }
  const connect = async () => {
    const sas = [0, 1, 2, 3].map((n) => {
      const { keys: _, $typeName: _name, ...bare } = rig.sa(n);
      return create(SaSchema, bare);
    });
    const plane = new Prober(
      { sas, failOver: () => undefined },
      { share: 0, everyMs: 1_000 },
      { verdict: (verdict) => verdicts.push(verdict) },
    );
    const agent = localAgent([rig.address], plane);
    await plane.start(agent);
    await eventually('registered', 5_000, () => agent.settled);
    return agent;
  };
  const first = await connect();
  await eventually('everyone is probed', 5_000, async () => (await rig.count('probesAnswered')) >= 8);
  silent.add('spoke-2');
  await eventually('the silent one is found', DETECTION_MS + 3_000, () => verdicts.length === 1);
  assert.equal(verdicts[0]!.peerId, 'spoke-2');
  await eventually('its SA is taken out', 2_000, async () => (await rig.count('peers')) === 3);
  silent.clear();

  await first.stop();
  const before = probes;
  await sleep(2 * DETECTION_MS);
  const { peers } = await rig.client.unary(OperatorService.method.listPeers, { headend: HEADEND });
  assert.deepEqual(
    peers.map(({ state }) => state),
    [PeerState.BLOCKED, PeerState.BLOCKED, PeerState.BLOCKED],
  );
  assert.equal(probes, before);
  const second = await connect();
  await eventually('probing resumes', 5_000, () => probes > before + 3);
  assert.equal(verdicts.length, 1);
  await second.stop();
});
