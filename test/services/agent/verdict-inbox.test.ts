import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { Outcome, VerdictSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { Applied, Headend } from '../../../services/agent/headend/headend.ts';
import { VerdictInbox } from '../../../services/agent/verdict-inbox.ts';
import { createLogger } from '../../../services/base/log.ts';
import { eventually } from '../../eventually.ts';

test('an attempt is applied once: under way when it comes again, answered again once it is done', async () => {
  const applying: ((applied: Applied) => void)[] = [];
  const answers: string[] = [];
  const headend = { apply: () => new Promise<Applied>((resolve) => applying.push(resolve)) } as unknown as Headend;
  const inbox = new VerdictInbox(headend, createLogger('test', 'silent'), ({ id, attempt }, { detail }) =>
    answers.push(`${id}/${attempt} ${detail}`),
  );
  const verdict = create(VerdictSchema, { id: 'v' });
  assert.equal(inbox.receive(verdict), true);
  assert.equal(inbox.receive(create(VerdictSchema, { id: 'v' })), false);
  assert.equal(inbox.receive(create(VerdictSchema, { id: 'v', attempt: 1 })), true, 'another attempt is other work');
  applying[0]!({ outcome: Outcome.CLEARED, detail: 'done' });
  await eventually('answered', 1_000, () => answers.length === 1);
  assert.equal(inbox.receive(verdict), true);
  assert.deepEqual(answers, ['v/0 done', 'v/0 done']);
  assert.equal(applying.length, 2);
});
