/**
 * Verdicts as they are logged and delivered, encoded once: see stored-verdict.ts. The fields about an SA are the SA's own
 * bytes under the verdict's field numbers. Verdicts of a batch lie in a row, and that row is the message for log, stream
 * and watch.
 */

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { VerdictsSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import {
  Action,
  DeadReason,
  type Endpoint,
  EndpointSchema,
  type GuardAction,
  GuardActionSchema,
  PolicySchema,
  SaSchema,
  VerdictHistorySchema,
  VerdictSchema,
} from '../../../proto/gen/dpd/v1/types_pb.js';
import { fieldNumbers, MessageReader } from '../../../workers/sa/message-reader.ts';
import type { ShardVerdict } from '../../../workers/shard/protocol.ts';
import { WireWriter } from '../../api/grpc/wire.ts';
import type { ShardId } from '../../store/keys.ts';
import { readVerdict } from '../../store/shard/stored-verdict.ts';
import { LONGEST_SA } from '../records/sa-store.ts';

/** Verdicts composed together. */
type Page = {
  /** A Verdicts message of all. Empty until {@link VerdictComposer.finish}. */
  bytes: Buffer;
};

/** Where a composed verdict stands, and what is decided by it. */
export type EncodedVerdict = {
  readonly id: string;
  readonly page: Page;
  /** A Verdicts message of one. Its last byte is the next endpoint. */
  readonly from: number;
  readonly to: number;
  /** Endpoints the peer has, and the index of the one found dead. */
  readonly endpoints: number;
  readonly active: number;
  /** Its next endpoint is the dead one, whatever is known of others. */
  readonly fixed: boolean;
  /** Where the message of that endpoint begins behind `from`, and its length. */
  readonly deadAt: number;
  readonly deadLength: number;
  /** An operator wants this action; 0: the endpoint is dead. */
  readonly asked: number;
};

/** Facts about a verdict that neither the SA nor its thread know. */
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

/** Composes the verdicts of one shard, page by page. */
export class VerdictComposer {
  readonly #message = new WireWriter();
  readonly #history = new WireWriter();
  readonly #list = new WireWriter();
  /** The fields that all of them share. */
  readonly #shard: Buffer;
  /** The SA's message and its reader, on the whole scratch buffer, whatever the message's length. */
  readonly #sa = Buffer.alloc(LONGEST_SA);
  readonly #reader = new MessageReader(this.#sa);
  /** Where endpoints begin in it, and their lengths. */
  readonly #endpointAt: number[] = [];
  readonly #endpointLength: number[] = [];
  #page: Page = { bytes: Buffer.alloc(0) };

  constructor({ headend, shard }: ShardId) {
    this.#message.text(VERDICT.headend, headend);
    this.#message.uint(VERDICT.shard, shard);
    this.#shard = this.#message.finish();
  }

  /**
   * Adds a verdict to the page.
   * @param copySa writes the SA's message, checked when it was registered, and returns its length
   */
  compose(
    copySa: (message: Buffer) => number,
    verdict: ShardVerdict,
    { id, epoch, guards, traceparent }: Circumstances,
  ): EncodedVerdict {
    const message = this.#message;
    message.text(VERDICT.id, id);
    message.fields(this.#shard);
    message.uint(VERDICT.epoch, epoch);
    const { asked } = verdict;
    const { action: own, observe, active, pinned, endpoints, deadAt } = this.#copy(copySa(this.#sa));
    // What an operator asks for is done, whatever the policy says.
    const action = asked > 0 ? asked : own;
    const observed = asked === 0 && observe;
    message.uint(VERDICT.reason, asked > 0 ? DeadReason.OPERATOR : DeadReason.PROBES_UNANSWERED);
    this.#writeHistory(verdict, guards);
    message.uint(VERDICT.action, observed ? Action.NOTIFY : action);
    if (observed) message.uint(VERDICT.observed, action);
    message.uint(VERDICT.deadEndpoint, active);
    if (traceparent !== '') message.text(VERDICT.traceparent, traceparent);
    // It must come last: see setNextEndpoint.
    const same = action === Action.RESTART || action === Action.TRAP;
    const fixed = same || pinned > 0;
    if (pinned > 0 && !same) message.uint(VERDICT.pinned, 1);
    const next = pinned > 0 ? pinned - 1 : (active + 1) % endpoints;
    message.uint(VERDICT.nextEndpoint, same ? active : next);
    const from = this.#list.length;
    const begin = message.finishInto(VERDICTS, this.#list);
    const deadLength = this.#endpointLength[active]!;
    const to = this.#list.length;
    return {
      id,
      page: this.#page,
      from,
      to,
      endpoints,
      active,
      fixed,
      deadAt: begin - from + deadAt,
      deadLength,
      asked,
    };
  }

  /** Adds a verdict that was composed before, as it is. */
  repeat(verdict: EncodedVerdict): EncodedVerdict {
    const from = this.#list.length;
    this.#list.fields(bytesOf(verdict));
    return { ...verdict, page: this.#page, from, to: this.#list.length };
  }

  /** Ends the page. */
  finish(): void {
    this.#page.bytes = this.#list.finish();
    this.#page = { bytes: Buffer.alloc(0) };
  }

  /** Copies the verdict's fields about its SA. Returns the values needed to decide, and where the dead endpoint was copied to. */
  #copy(length: number): {
    action: Action;
    observe: boolean;
    active: number;
    pinned: number;
    endpoints: number;
    deadAt: number;
  } {
    const message = this.#message;
    const reader = this.#reader;
    const starts = this.#endpointAt;
    const lengths = this.#endpointLength;
    let endpoints = 0;
    let action = Action.FAILOVER;
    let observe = false;
    let active = 0;
    let pinned = 0;
    reader.pos = 0;
    while (reader.pos < length) {
      const tag = reader.uint32();
      const field = tag >>> 3;
      if (field === SA.id) this.#copyField(VERDICT.sa);
      else if (field === SA.peerId) this.#copyField(VERDICT.peerId);
      else if (field === SA.activeEndpoint) active = reader.uint32();
      else if (field === SA.pinnedEndpoint) pinned = reader.uint32();
      else if (field === SA.policy) {
        const end = reader.partEnd();
        while (reader.pos < end) {
          const part = reader.uint32();
          if (part >>> 3 === POLICY.action) action = reader.int32() || action;
          else if (part >>> 3 === POLICY.observe) observe = reader.bool();
          else reader.skipField(part);
        }
      } else if (field === SA.endpoints) {
        lengths[endpoints] = this.#copyField(VERDICT.endpoints);
        starts[endpoints] = message.length - lengths[endpoints]!;
        endpoints++;
      } else if (field === SA.childSpis) {
        // An unpacked value is the same as a pack of one.
        if ((tag & 7) === WireType.Bit32) this.#copyField(VERDICT.childSpis, Uint32Array.BYTES_PER_ELEMENT);
        else this.#copyField(VERDICT.childSpis);
      } else reader.skipField(tag);
    }
    return { action, observe, active, pinned, endpoints, deadAt: starts[active]! };
  }

  /** Copies what comes next in the SA's message, as a field of the verdict. Returns its length. */
  #copyField(field: number, length = this.#reader.uint32()): number {
    this.#message.part(field, this.#sa, this.#reader.pos, length);
    this.#reader.pos += length;
    return length;
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

/** A Verdicts message of one: a view. */
export function bytesOf({ page, from, to }: EncodedVerdict): Buffer {
  return page.bytes.subarray(from, to);
}

/** Every endpoint that a verdict lists. */
export function endpointsOf(verdict: EncodedVerdict): Endpoint[] {
  return readVerdict(bytesOf(verdict)).endpoints;
}

/** The endpoint found dead. */
export function deadEndpoint({ page, from, deadAt, deadLength }: EncodedVerdict): Endpoint {
  return fromBinary(EndpointSchema, page.bytes.subarray(from + deadAt, from + deadAt + deadLength));
}

/** Names another endpoint as the next one. */
export function setNextEndpoint({ page, to }: EncodedVerdict, endpoint: number): void {
  page.bytes[to - 1] = endpoint;
}
