import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { PathSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { checkPath, checkSa } from '../../../services/api/validation.ts';

const door = (loopback: boolean) => ({ shard: 0, shards: 1, loopback });
const fields = (violations: readonly { field: string }[]) => violations.map(({ field }) => field);

test('peers and canaries are on loopback only where the node is', () => {
  for (const address of ['127.0.0.1', '::1', '::ffff:127.9.9.9']) {
    const sa = create(SaSchema, { endpoints: [{ address: '192.0.2.1' }, { address }] });
    assert(fields(checkSa(sa, door(false))).includes('endpoints[1].address'), address);
    assert(!fields(checkSa(sa, door(true))).includes('endpoints[1].address'), address);
    const path = create(PathSchema, { ready: true, canaryAddress: address, canaryPort: 4_500 });
    assert.deepEqual(fields(checkPath(path, door(false))), ['path.canary_address']);
    assert.deepEqual(checkPath(path, door(true)), []);
  }
});

test('a policy that asks nobody may leave times out, and has the same limits', () => {
  const told = (policy: object) =>
    fields(checkSa(create(SaSchema, { policy: { mode: 4, ...policy } }), door(false))).filter((field) =>
      field.startsWith('policy'),
    );
  assert.deepEqual(told({}), []);
  assert.deepEqual(told({ intervalMs: 0xffffffff, retries: 21 }), ['policy.interval_ms', 'policy.retries']);
});
