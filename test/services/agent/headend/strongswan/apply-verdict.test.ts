import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import {
  Action,
  DeadReason,
  Mode,
  Outcome,
  PolicySchema,
  VerdictSchema,
} from '../../../../../proto/gen/dpd/v1/types_pb.js';
import { applyVerdict, type VerdictContext } from '../../../../../services/agent/headend/strongswan/apply-verdict.ts';

const POLICY = create(PolicySchema, { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 2_000, retries: 5 });

/** A hub whose one SA has just received a packet, and what it was told to do. */
function hub() {
  const told: [command: string, message: object][] = [];
  const context = {
    vici: { request: async (command: string, message: object) => told.push([command, message]) },
    looks: { find: async () => ({ uniqueId: '7', children: [{ packetsIn: 3, useIn: 1 }] }) },
    peers: { get: () => ({ policy: POLICY, endpoints: [] }) },
    uniqueId: () => '7',
    alive: () => {},
  };
  return { told, context: context as unknown as VerdictContext };
}

function verdict(reason: DeadReason) {
  const sa = { initiatorSpi: 1n, responderSpi: 2n };
  return create(VerdictSchema, { id: 'v', sa, peerId: 'spoke-1', reason, action: Action.CLEAR });
}

test('a peer that the hub has just heard from is not torn down for its silence', async () => {
  const { told, context } = hub();
  const { outcome } = await applyVerdict(context, verdict(DeadReason.PROBES_UNANSWERED));
  assert.equal(outcome, Outcome.PEER_ALIVE);
  assert.deepEqual(told, []);
});

test('an operator has it torn down nevertheless', async () => {
  const { told, context } = hub();
  const { outcome } = await applyVerdict(context, verdict(DeadReason.OPERATOR));
  assert.equal(outcome, Outcome.CLEARED);
  assert.deepEqual(told, [['terminate', { 'ike-id': '7', force: 'yes' }]]);
});
