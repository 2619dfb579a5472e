/**
 * A verdict as it is kept and sent: a Verdicts message of one. Such messages one after the other form one message of all,
 * which log, headend's stream and watch use unchanged.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { VerdictsSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';

/** The verdict in a message of one. */
export function readVerdict(message: Uint8Array): Verdict {
  const [verdict] = fromBinary(VerdictsSchema, message).verdicts;
  if (!verdict) throw new RangeError('no verdict in its message');
  return verdict;
}

export function writeVerdict(verdict: Verdict): Buffer {
  return Buffer.from(toBinary(VerdictsSchema, create(VerdictsSchema, { verdicts: [verdict] })));
}
