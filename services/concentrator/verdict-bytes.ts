/**
 * A verdict as it is logged and delivered, encoded once: see stored-verdict.ts. What it tells of its SA are the SA's own
 * bytes under the verdict's field numbers.
 */

import { toBinary } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { VerdictsSchema } from '../../proto/gen/dpd/v1/headend_pb.js';
import {
  Action,
  DeadReason,
  type Endpoint,
  type GuardAction,
  GuardActionSchema,
  PolicySchema,
  SaSchema,
  VerdictHistorySchema,
  VerdictSchema,
} from '../../proto/gen/dpd/v1/types_pb.js';
import { fieldNumbers } from '../../workers/field-numbers.ts';
import type { ShardVerdict } from '../../workers/protocol.ts';
import { WireWriter } from '../grpc/wire.ts';
import type { ShardId } from '../store/keys.ts';
import { readVerdict } from '../store/stored-verdict.ts';

export type EncodedVerdict = {
  readonly id: string;
  /** A Verdicts message of one. Its last byte is the next endpoint. */
  readonly bytes: Buffer;
  /** Endpoints the peer has. */
  readonly endpoints: number;
  /** The Endpoint message found dead, and its index. */
  readonly dead: Uint8Array;
  readonly active: number;
};

/** What the SA and its thread do not know of a verdict. */
export type Circumstances = {
  readonly id: string;
  readonly epoch: number;
  readonly guards: readonly GuardAction[];
  readonly traceparent: string;
};

const SA = fieldNumbers(SaSchema);
const POLICY = fieldNumbers(PolicySchema);
const VERDICT = fieldNumbers(VerdictSchema);
const HISTORY = fieldNumbers(VerdictHistorySchema);
const VERDICTS = VerdictsSchema.field.verdicts.number;

/** Composes the verdicts of one shard. */
export class VerdictComposer {
  readonly #shard: ShardId;
  readonly #message = new WireWriter();
  readonly #history = new WireWriter();
  readonly #list = new WireWriter();

  constructor(shard: ShardId) {
    this.#shard = shard;
  }

  /** @param sa message of the SA, checked when it was registered */
  compose(sa: Uint8Array, verdict: ShardVerdict, { id, epoch, guards, traceparent }: Circumstances): EncodedVerdict {
    const message = this.#message;
    message.text(VERDICT.id, id);
    message.text(VERDICT.headend, this.#shard.headend);
    message.uint(VERDICT.shard, this.#shard.shard);
    message.uint(VERDICT.epoch, epoch);
    const { action, active, endpoints } = this.#copy(sa);
    message.uint(VERDICT.reason, DeadReason.PROBES_UNANSWERED);
    this.#writeHistory(verdict, guards);
    message.uint(VERDICT.action, action);
    message.uint(VERDICT.deadEndpoint, active);
    if (traceparent !== '') message.text(VERDICT.traceparent, traceparent);
    message.uint(VERDICT.nextEndpoint, (active + 1) % endpoints.length);
    return {
      id,
      bytes: this.#finish(),
      endpoints: endpoints.length,
      dead: endpoints[active]!,
      active,
    };
  }

  #finish(): Buffer {
    this.#message.finishInto(VERDICTS, this.#list);
    return this.#list.finish();
  }

  /** Copies what a verdict tells of its SA; returns what it is decided by. */
  #copy(sa: Uint8Array): { action: Action; active: number; endpoints: Uint8Array[] } {
    const message = this.#message;
    const reader = new BinaryReader(sa);
    const endpoints: Uint8Array[] = [];
    let action = Action.FAILOVER;
    let active = 0;
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === SA.id) message.bytes(VERDICT.sa, reader.bytes());
      else if (field === SA.peerId) message.bytes(VERDICT.peerId, reader.bytes());
      else if (field === SA.activeEndpoint) active = reader.uint32();
      else if (field === SA.policy) action = actionOf(reader.bytes()) || action;
      else if (field === SA.endpoints) {
        const endpoint = reader.bytes();
        endpoints.push(endpoint);
        message.bytes(VERDICT.endpoints, endpoint);
      } else if (field === SA.childSpis) {
        // One not packed is as good as a pack of one.
        if (type === WireType.Bit32) reader.skip(type, field);
        const value = type === WireType.Bit32 ? sa.subarray(reader.pos - 4, reader.pos) : reader.bytes();
        message.bytes(VERDICT.childSpis, value);
      } else reader.skip(type, field);
    }
    return { action, active, endpoints };
  }

  #writeHistory(verdict: ShardVerdict, guards: readonly GuardAction[]): void {
    const history = this.#history;
    history.uint(HISTORY.lastEvidenceUnixMs, Math.round(verdict.lastEvidenceUnix));
    history.uint(HISTORY.firstProbeUnixMs, Math.round(verdict.firstProbeUnix));
    history.uint(HISTORY.probesSent, verdict.probesSent);
    history.uint(HISTORY.earliestUnixMs, Math.round(verdict.earliestUnix));
    history.uint(HISTORY.decidedUnixMs, Math.round(verdict.decidedUnix));
    for (const guard of guards) history.bytes(HISTORY.guards, toBinary(GuardActionSchema, guard));
    history.finishInto(VERDICT.history, this.#message);
  }
}

/** Every endpoint that a verdict lists. */
export function endpointsOf({ bytes }: EncodedVerdict): Endpoint[] {
  return readVerdict(bytes).endpoints;
}

/** Names another endpoint as the next one. */
export function setNextEndpoint({ bytes }: EncodedVerdict, endpoint: number): void {
  bytes[bytes.length - 1] = endpoint;
}

/** Action of a Policy message, ACTION_UNSPECIFIED if it names none. */
function actionOf(policy: Uint8Array): Action {
  const reader = new BinaryReader(policy);
  let action = Action.UNSPECIFIED;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === POLICY.action) action = reader.int32();
    else reader.skip(type, field);
  }
  return action;
}
