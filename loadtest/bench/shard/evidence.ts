/** Traffic evidence, handle by handle: from the encoded message to the table, beside a bare store into an array. */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { EvidenceSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { Machine } from '../../../workers/liveness/machine.ts';
import { Mode } from '../../../workers/liveness/policy.ts';
import { cpuNanosPerOperation, type Result, round } from '../measure.ts';

const HANDLES = 100_000;
const POLICY = {
  mode: Mode.ON_IDLE,
  intervalMs: 30_000,
  retryIntervalMs: 2_000,
  retries: 5,
  jitterPercent: 0,
  unprovenMs: 0,
};

export async function evidence(): Promise<Result> {
  const machine = new Machine(0, HANDLES, { probe: () => 0, verdict: () => {}, recovered: () => {} });
  for (let handle = 0; handle < HANDLES; handle++) machine.add(handle, POLICY, 0);
  const heardHandles = Array.from({ length: HANDLES }, (_, n) => (n * 7_919) % HANDLES);
  const message = toBinary(EvidenceSchema, create(EvidenceSchema, { heardHandles }));
  let now = 1;
  const decode = cpuNanosPerOperation(HANDLES, () => {
    fromBinary(EvidenceSchema, message);
  });
  const total = cpuNanosPerOperation(HANDLES, () => {
    now++;
    const handles = new Uint32Array(fromBinary(EvidenceSchema, message).heardHandles);
    for (let n = 0; n < handles.length; n++) if (machine.has(handles[n]!)) machine.heard(handles[n]!, now);
  });
  const bare = new Float64Array(HANDLES);
  const handles = Uint32Array.from(heardHandles);
  const baseline = cpuNanosPerOperation(HANDLES * 20, () => {
    for (let round = 0; round < 20; round++) for (let n = 0; n < handles.length; n++) bare[handles[n]!] = now + round;
  });
  return {
    handles: HANDLES,
    ns_per_handle: total,
    decode_ns_per_handle: decode,
    baseline,
    ratio: round(total / baseline),
  };
}
