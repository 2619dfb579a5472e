import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { HoldDecision, OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Guard } from '../../proto/gen/dpd/v1/types_pb.js';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, Rig } from '../integration/rig.ts';

const SPOKES = 200;

async function cutOff(nodeEnv: Record<string, string> = {}) {
  const rig = await Rig.start({ spokes: SPOKES, nodeEnv: { DPD_STORM_SHARE: '50', ...nodeEnv } });
  await rig.startAgent();
  await eventually('everyone was probed', 10_000, async () => (await rig.count('probesAnswered')) >= 2 * SPOKES);
  for (let spoke = 0; spoke < SPOKES; spoke++) rig.responder.kill(spoke, 0);
  const held = () => rig.client.unary(OperatorService.method.listHeldVerdicts, { headend: HEADEND });
  await eventually('all are held', 3 * DETECTION_MS, async () => (await held()).total === SPOKES);
  assert.equal(rig.verdicts.length, 0, 'torn down although everybody fell silent at once');
  return { rig, held };
}

test('all spokes cut off at once: held; the peers answer: every verdict is taken back', async (t) => {
  const { rig, held } = await cutOff();
  t.after(() => rig.stop());
  const { verdicts } = await held();
  assert.match(verdicts[0]!.reason, /^(node|headend).*: \d+ of \d+ peers silent$/);
  for (let spoke = 0; spoke < SPOKES; spoke++) rig.responder.revive(spoke, 0);
  await eventually('all are taken back', 10_000, async () => (await held()).total === 0);
  await sleep(2 * DETECTION_MS);
  assert.equal(rig.verdicts.length, 0);
  const { shards } = await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
  assert.equal(
    shards.reduce((sum, shard) => sum + Number(shard.holdsCancelled), 0),
    SPOKES,
  );
});

test('an operator says the deaths are true: the verdicts come, paced, and tell of the hold', async (t) => {
  const { rig, held } = await cutOff({ DPD_STORM_RELEASE_RATE: '20' });
  t.after(() => rig.stop());
  await assert.rejects(rig.client.unary(OperatorService.method.settleHeldVerdicts, { headend: HEADEND }), {
    code: status.INVALID_ARGUMENT,
  });
  const settled = await rig.client.unary(OperatorService.method.settleHeldVerdicts, {
    headend: HEADEND,
    decision: HoldDecision.RELEASE,
  });
  assert.equal(settled.verdicts, SPOKES);
  await sleep(2_500);
  assert(rig.verdicts.length > 0 && rig.verdicts.length < SPOKES, `${rig.verdicts.length} verdicts: not paced`);
  await eventually('all are given', 15_000, () => rig.verdicts.length === SPOKES);
  assert.equal((await held()).total, 0);
  for (const { history } of rig.verdicts) {
    const guard = history!.guards.find((action) => action.guard === Guard.STORM_HOLD);
    assert(guard && guard.ms > 0n, 'the history does not tell of the hold');
  }
});

test('held too long: dropped if so configured, and suspected anew', async (t) => {
  const { rig } = await cutOff({ DPD_STORM_HOLD_MS: '2000', DPD_STORM_THEN: 'drop' });
  t.after(() => rig.stop());
  const dropped = async () => {
    const { shards } = await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
    return shards.reduce((sum, shard) => sum + Number(shard.holdsDropped), 0);
  };
  await eventually('dropped', 8_000, async () => (await dropped()) >= SPOKES);
  await sleep(2 * DETECTION_MS);
  assert.equal(rig.verdicts.length, 0);
});
