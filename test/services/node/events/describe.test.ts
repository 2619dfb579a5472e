import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { Action, VerdictSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { describeVerdict } from '../../../../services/node/events/describe.ts';

const endpoints = [
  { address: '192.0.2.10', connection: 'branch-7' },
  { address: '198.51.100.10', connection: 'backup' },
];

test('a verdict in words says what is to be done, and what is not', () => {
  const said = (init: { action: Action; observed?: Action; nextEndpoint?: number }) =>
    describeVerdict(create(VerdictSchema, { history: { probesSent: 5 }, endpoints, ...init }))
      .split('; ')
      .at(-1);
  assert.equal(said({ action: Action.CLEAR }), 'SA to be deleted');
  assert.equal(said({ action: Action.FAILOVER, nextEndpoint: 1 }), 'next endpoint 198.51.100.10 (backup)');
  assert.equal(said({ action: Action.FAILOVER }), 'SA to be deleted');
  assert.equal(said({ action: Action.RESTART }), 'the same endpoint again: 192.0.2.10 (branch-7)');
  assert.equal(said({ action: Action.TRAP }), 'SA to be deleted, its trap policy stays');
  assert.equal(said({ action: Action.NOTIFY }), 'only told: the SA stays');
  assert.equal(said({ action: Action.NOTIFY, observed: Action.FAILOVER }), 'observed: FAILOVER is not done');
});
