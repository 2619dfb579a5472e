/**
 * Reads from an encoded Sa (types.proto) what is needed to watch it: a takeover is as fast as this code. It takes one pass and
 * one reader a page, and makes no message, view or string that is not kept. Bytes were checked when they were registered;
 * invalid bytes throw RangeError or Error.
 */

import { WireType } from '@bufbuild/protobuf/wire';
import {
  Action,
  EndpointSchema,
  PolicySchema,
  SaIdSchema,
  SaKeysSchema,
  SaSchema,
} from '../../proto/gen/dpd/v1/types_pb.js';
import { Address } from '../base/address.ts';
import type { SpiWords } from '../base/spi.ts';
import { findIkev1Suite, ikev1Material } from '../ikev1/suites.ts';
import { NAT_T_PORT } from '../ikev2/header.ts';
import { keyMaterial, type SessionInput, type SessionKeys } from '../ikev2/sessions.ts';
import { findSuite } from '../ikev2/suites.ts';
import { Mode, type Policy } from '../liveness/policy.ts';
import { fieldNumbers, MessageReader } from './message-reader.ts';

const SA = fieldNumbers(SaSchema);
const ID = fieldNumbers(SaIdSchema);
const ENDPOINT = fieldNumbers(EndpointSchema);
const POLICY = fieldNumbers(PolicySchema);
const KEYS = fieldNumbers(SaKeysSchema);
const NONE: Uint8Array = new Uint8Array(0);
const IKEV1 = 1;
/** DpdSupport of types.proto. */
const Support = { ANNOUNCED: 1, ABSENT: 2 } as const;
/** Of the SA read last. */
const ADDRESS = new Address();

/** What a shard's thread needs to know of an SA. */
export type WatchedSa = Pick<SessionInput, 'spi' | 'ikev1' | 'headendIsInitiator' | 'address' | 'port'> & {
  readonly policy: Policy;
  readonly nextMessageId: number;
  readonly parked: boolean;
  /** The headend's address that the SA ends at; empty: not said. And its port there, 500 or 4500. */
  readonly local: string;
  readonly ikePort: number;
  /** No verdict before this moment, Unix ms; 0: not muted. */
  readonly muteUntilUnixMs: number;
};

/**
 * Reads an Sa without its keys, from where the reader is up to `end`. A part given twice is merged, as protobuf has it. Its
 * address is good until the next is read.
 */
export function readSa(reader: MessageReader, end = reader.len): WatchedSa {
  const spi: [number, number, number, number] = [0, 0, 0, 0];
  const policy: ReadPolicy = {
    mode: 0,
    intervalMs: 0,
    retryIntervalMs: 0,
    retries: 0,
    jitterPercent: 0,
    unprovenMs: 0,
    retryFactorPercent: 0,
    retryLimitMs: 0,
    proveEveryMs: 0,
    upCount: 0,
    retryScheduleMs: NOT_LISTED,
    asksDead: false,
  };
  action = Action.UNSPECIFIED;
  observe = false;
  const endpoints: number[] = [];
  let headendIsInitiator = false;
  let parked = false;
  let active = 0;
  let nextMessageId = 0;
  let local = '';
  let ikePort = NAT_T_PORT;
  let muteUntilUnixMs = 0;
  let ikev1 = false;
  let support = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if (field === SA.id) readId(reader, spi);
    else if (field === SA.ikeVersion) ikev1 = reader.uint32() === IKEV1;
    else if (field === SA.dpdSupport) support = reader.int32();
    else if (field === SA.headendIsInitiator) headendIsInitiator = reader.bool();
    else if (field === SA.endpoints) {
      endpoints.push(reader.pos);
      reader.skipField(tag);
    } else if (field === SA.activeEndpoint) active = reader.uint32();
    else if (field === SA.policy) readPolicy(reader, policy);
    else if (field === SA.nextMessageId) nextMessageId = reader.uint32();
    else if (field === SA.parked) parked = reader.bool();
    else if (field === SA.localAddress) local = readLocal(reader);
    else if (field === SA.localPort) ikePort = reader.uint32() || NAT_T_PORT;
    else if (field === SA.muteUntilUnixMs) muteUntilUnixMs = Number(reader.uint64());
    else reader.skipField(tag);
  }
  checkEnd(reader, end);
  // Its SA stays: its return is to be told.
  policy.asksDead = observe || (action as Action) === Action.NOTIFY;
  // A peer that may not know DPD is not judged before it has answered; one that does not know it, never.
  if (ikev1 && support !== Support.ANNOUNCED) policy.unprovenMs = 0;
  if (ikev1 && support === Support.ABSENT) policy.mode = Mode.DISABLED;
  const endpoint = endpoints[active];
  if (endpoint === undefined) throw new RangeError(`an SA without endpoint ${active}`);
  reader.pos = endpoint;
  const { address, port } = readEndpoint(reader);
  return {
    spi,
    ikev1,
    headendIsInitiator,
    address,
    port,
    policy: policy as Policy,
    nextMessageId,
    parked,
    local,
    ikePort,
    muteUntilUnixMs,
  };
}

/** Reads from an Sa, from the reader's position up to `end`: its id, what its headend is told of it, and its site. */
export function readSaHead(reader: MessageReader, end = reader.len): { spi: SpiWords; revision: number; site: string } {
  const spi: [number, number, number, number] = [0, 0, 0, 0];
  const head = { spi, revision: 0, site: '' };
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if (field === SA.id) readId(reader, spi);
    else if (field === SA.revision) head.revision = reader.uint32();
    else if (field === SA.site) head.site = reader.string();
    else reader.skipField(tag);
  }
  checkEnd(reader, end);
  return head;
}

/** Reads SaKeys. Throws RangeError if they fit no suite. */
export function readKeys(message: Uint8Array, headendIsInitiator: boolean): SessionKeys {
  const reader = new MessageReader(message);
  const keys = { skEi: NONE, skEr: NONE, skAi: NONE, skAr: NONE };
  const ikev1 = { encryptionKey: NONE, skeyidA: NONE, phase1Block: NONE };
  let encryption = 0;
  let integrity = 0;
  let prf = 0;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if (field === KEYS.encryption) encryption = reader.int32();
    else if (field === KEYS.integrity) integrity = reader.int32();
    else if (field === KEYS.skEi) keys.skEi = reader.bytes();
    else if (field === KEYS.skEr) keys.skEr = reader.bytes();
    else if (field === KEYS.skAi) keys.skAi = reader.bytes();
    else if (field === KEYS.skAr) keys.skAr = reader.bytes();
    else if (field === KEYS.prf) prf = reader.int32();
    else if (field === KEYS.skeyidA) ikev1.skeyidA = reader.bytes();
    else if (field === KEYS.encryptionKey) ikev1.encryptionKey = reader.bytes();
    else if (field === KEYS.phase1Block) ikev1.phase1Block = reader.bytes();
    else reader.skipField(tag);
  }
  if (prf !== 0) {
    const suite = findIkev1Suite(encryption, ikev1.encryptionKey.length, prf);
    if (!suite) throw new RangeError(`no suite of IKEv1 for encryption ${encryption}, prf ${prf}`);
    return { suite: suite.index, material: ikev1Material(suite, ikev1) };
  }
  const suite = findSuite(encryption, integrity, keys.skEi.length);
  if (!suite) throw new RangeError(`no suite for encryption ${encryption}, integrity ${integrity}`);
  return { suite: suite.index, material: keyMaterial(suite, headendIsInitiator, keys) };
}

function readId(reader: MessageReader, spi: [number, number, number, number]): void {
  for (const end = reader.partEnd(); reader.pos < end; ) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    // 64 bits, the low ones first.
    if (field === ID.initiatorSpi) {
      spi[1] = reader.fixed32();
      spi[0] = reader.fixed32();
    } else if (field === ID.responderSpi) {
      spi[3] = reader.fixed32();
      spi[2] = reader.fixed32();
    } else reader.skipField(tag);
  }
}

function readEndpoint(reader: MessageReader): { address: Address; port: number } {
  let port = 0;
  for (const end = reader.partEnd(); reader.pos < end; ) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if (field === ENDPOINT.address) {
      const addressEnd = reader.partEnd();
      ADDRESS.read(reader.source, reader.pos, addressEnd);
      reader.pos = addressEnd;
    } else if (field === ENDPOINT.port) port = reader.uint32();
    else reader.skipField(tag);
  }
  return { address: ADDRESS, port: port || NAT_T_PORT };
}

/** Usually it is the same address as that of the SA before: then no string is made. */
function readLocal(reader: MessageReader): string {
  const end = reader.partEnd();
  const length = end - reader.pos;
  let same = length === lastLocal.length;
  for (let n = 0; same && n < length; n++) {
    const byte = reader.source[reader.pos + n]!;
    same = byte < 0x80 && byte === lastLocal.charCodeAt(n);
  }
  if (!same) lastLocal = Buffer.from(reader.source.buffer, reader.source.byteOffset + reader.pos, length).toString();
  reader.pos = end;
  return lastLocal;
}
let lastLocal = '';

type ReadPolicy = {
  -readonly [Name in Exclude<keyof Policy, 'mode' | 'retryScheduleMs' | 'asksDead'>]-?: number;
} & {
  mode: number;
  asksDead: boolean;
  retryScheduleMs: readonly number[];
};
/** Of the policy read last. */
let action: Action = Action.UNSPECIFIED;
let observe = false;
/** Of all policies without a list. */
const NOT_LISTED: readonly number[] = [];

function readPolicy(reader: MessageReader, policy: ReadPolicy): void {
  for (const end = reader.partEnd(); reader.pos < end; ) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if (field === POLICY.mode) policy.mode = reader.int32();
    else if (field === POLICY.intervalMs) policy.intervalMs = reader.uint32();
    else if (field === POLICY.retryIntervalMs) policy.retryIntervalMs = reader.uint32();
    else if (field === POLICY.retries) policy.retries = reader.uint32();
    else if (field === POLICY.jitterPercent) policy.jitterPercent = reader.uint32();
    else if (field === POLICY.unprovenMs) policy.unprovenMs = reader.uint32();
    else if (field === POLICY.action) action = reader.int32();
    else if (field === POLICY.proveEveryMs) policy.proveEveryMs = reader.uint32();
    else if (field === POLICY.upCount) policy.upCount = reader.uint32();
    else if (field === POLICY.observe) observe = reader.bool();
    else if (field === POLICY.retryFactorPercent) policy.retryFactorPercent = reader.uint32();
    else if (field === POLICY.retryLimitMs) policy.retryLimitMs = reader.uint32();
    else if (field === POLICY.retryScheduleMs) policy.retryScheduleMs = readWaits(reader, tag, policy.retryScheduleMs);
    else reader.skipField(tag);
  }
}

/** A list of numbers, packed or one by one; what comes again is added. */
function readWaits(reader: MessageReader, tag: number, before: readonly number[]): readonly number[] {
  if ((tag & 7) !== WireType.LengthDelimited) return [...before, reader.fixed32()];
  const waits = [...before];
  for (const end = reader.partEnd(); reader.pos < end; ) waits.push(reader.fixed32());
  return waits;
}

/** A part that does not end with its message is damaged: bytes of another field were read. */
function checkEnd(reader: MessageReader, end: number): void {
  if (reader.pos !== end) throw new RangeError(`a message that ends at ${end}, and its last part at ${reader.pos}`);
}
