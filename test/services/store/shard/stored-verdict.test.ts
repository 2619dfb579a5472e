import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { VerdictSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { WatchVerdictsResponseSchema } from '../../../../proto/gen/dpd/v1/verdicts_pb.js';
import { readVerdict, writeVerdict } from '../../../../services/store/shard/stored-verdict.ts';

test('verdicts one behind the other, and a token, are the response of a watch', () => {
  const verdicts = ['a', 'b'].map((id) => create(VerdictSchema, { id, peerId: `peer of ${id}` }));
  const token = toBinary(WatchVerdictsResponseSchema, create(WatchVerdictsResponseSchema, { resumeToken: '5-0' }));
  const response = fromBinary(WatchVerdictsResponseSchema, Buffer.concat([...verdicts.map(writeVerdict), token]));
  assert.deepEqual(response.verdicts, verdicts);
  assert.equal(response.resumeToken, '5-0');
  assert.deepEqual(verdicts.map(writeVerdict).map(readVerdict), verdicts);
  assert.throws(() => readVerdict(token), /no verdict|invalid|premature/i);
});
