import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { SimulatedHeadend } from '../../loadtest/headend/simulated.ts';
import { Action, Outcome, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService, type WatchVerdictsResponse } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import type { AgentSide, Applied } from '../../services/agent/headend/headend.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, localAgent, Rig, SHARDS } from './rig.ts';

/** A watch that collects until it is closed. */
function watch(rig: Rig, resumeToken: string) {
  const seen: Verdict[] = [];
  let token = resumeToken;
  const stream = rig.client.watch(VerdictService.method.watchVerdicts, { headend: HEADEND, resumeToken });
  stream.on('data', (response: WatchVerdictsResponse) => {
    seen.push(...response.verdicts);
    token = response.resumeToken;
  });
  stream.on('error', () => {});
  return { seen, token: () => token, close: () => stream.cancel() };
}

test('a watcher that comes back with its token misses none; an acknowledgement counts once', async (t) => {
  const rig = await Rig.start({ spokes: 60 });
  t.after(() => rig.stop());
  await rig.startAgent();
  const first = watch(rig, '');
  for (let spoke = 0; spoke < 20; spoke++) rig.responder.kill(spoke, 0);
  await eventually('first verdicts', 10_000, () => first.seen.length >= 5);
  first.close();
  const token = first.token();
  for (let spoke = 20; spoke < 40; spoke++) rig.responder.kill(spoke, 0);
  await eventually('verdicts while nobody watches', 10_000, () => rig.verdicts.length === 40);
  const second = watch(rig, token);
  await eventually('the rest', 5_000, () => first.seen.length + second.seen.length >= 40);
  await sleep(300);
  const ids = [...first.seen, ...second.seen].map(({ id }) => id);
  assert.equal(new Set(ids).size, 40);
  assert.equal(ids.length, 40, 'a verdict behind the token came again');
  for (let shard = 0; shard < SHARDS; shard++) {
    const decided = [...first.seen, ...second.seen]
      .filter((verdict) => verdict.shard === shard)
      .map(({ history }) => history!.decidedUnixMs);
    assert.deepEqual(
      decided,
      decided.toSorted((a, b) => Number(a - b)),
      'out of order',
    );
  }
  second.close();
  const again = watch(rig, '');
  await eventually('all again from the start', 5_000, () => again.seen.length === 40);
  assert.deepEqual(new Set(again.seen.map(({ id }) => id)), new Set(ids), 'a duplicate carries another id');
  again.close();
  // The agent has acknowledged them all: nothing waits any more.
  const { id, shard } = again.seen[0]!;
  const acknowledge = rig.client.unary(VerdictService.method.acknowledgeVerdict, {
    headend: HEADEND,
    shard,
    ack: { verdictId: id, outcome: Outcome.CLEARED },
  });
  await assert.rejects(acknowledge, { code: status.NOT_FOUND });
});

test('a verdict not acknowledged is delivered again, with the same id, also by the next node', async (t) => {
  const rig = await Rig.start({ spokes: 4 });
  t.after(() => rig.stop());
  const delivered: string[] = [];
  class Mute extends SimulatedHeadend {
    override apply(verdict: Verdict): Promise<Applied> {
      delivered.push(verdict.id);
      return new Promise(() => {});
    }
  }
  const connectAgent = async () => {
    const mute = new Mute(
      { sas: [0, 1, 2, 3].map((n) => rig.sa(n)), failOver: () => undefined },
      { share: 0, everyMs: 1_000 },
    );
    const agent = localAgent([rig.address], mute);
    await mute.start(agent);
    return agent;
  };
  const agent = await connectAgent();
  await eventually('registered', 5_000, () => agent.settled);
  await rig.proven();
  rig.responder.kill(2, 0);
  await eventually('delivered', 10_000, () => delivered.length === 1);
  await agent.stop();
  const second = await connectAgent();
  await eventually('delivered again', 5_000, () => delivered.length === 2);
  await second.stop();
  await rig.node.stop('SIGKILL');
  await rig.startNode();
  const third = await connectAgent();
  await eventually('delivered by the next node', 5_000, () => delivered.length === 3);
  await sleep(2 * DETECTION_MS);
  assert.equal(new Set(delivered).size, 1, 'one death, several ids');
  await third.stop();
});

test('an SA that replaced another is never torn down by the old verdict', async () => {
  const removed: bigint[] = [];
  const added: bigint[] = [];
  const agent: AgentSide = {
    upsert: (sa) => {
      added.push(sa.id!.responderSpi);
      return undefined;
    },
    remove: (id) => removed.push(id.responderSpi),
    complete: () => {},
    evidence: () => {},
    path: () => {},
    leftOut: () => {},
    vouch: () => {},
  };
  const rig = await Rig.start({ spokes: 1 });
  try {
    const oldSa = rig.sa(0, 0);
    const newSa = rig.sa(0, 1);
    const plane = new SimulatedHeadend({ sas: [newSa], failOver: () => undefined }, { share: 0, everyMs: 1_000 });
    await plane.start(agent);
    const verdict = { id: 'x', sa: oldSa.id, peerId: oldSa.peerId, action: Action.FAILOVER } as Verdict;
    const applied = await plane.apply(verdict);
    assert.equal(applied.outcome, Outcome.SA_GONE);
    assert.deepEqual([added, removed], [[newSa.id!.responderSpi], []]);
    await plane.stop();
  } finally {
    await rig.stop();
  }
});
