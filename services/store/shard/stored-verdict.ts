/**
 * A verdict as it is kept and sent: a Verdicts message of one. Put one behind the other, such messages are one of all, which
 * the log, a headend's stream and a watch take as it is.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { VerdictsSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';

/** The verdict of a message that holds one. */
export function readVerdict(message: Uint8Array): Verdict {
  const [verdict] = fromBinary(VerdictsSchema, message).verdicts;
  if (!verdict) throw new RangeError('no verdict in its message');
  return verdict;
}

export function writeVerdict(verdict: Verdict): Buffer {
  return Buffer.from(toBinary(VerdictsSchema, create(VerdictsSchema, { verdicts: [verdict] })));
}
