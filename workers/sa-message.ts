/**
 * An encoded Sa (types.proto), read for what watching it needs: a shard is taken over as fast as these are read, and whole
 * messages cost five times as much. Bytes were checked when they were registered; others throw RangeError or Error.
 */

import { BinaryReader } from '@bufbuild/protobuf/wire';
import { EndpointSchema, PolicySchema, SaIdSchema, SaKeysSchema, SaSchema } from '../proto/gen/dpd/v1/types_pb.js';
import { addressNumber } from './address.ts';
import { fieldNumbers } from './field-numbers.ts';
import { findSuite } from './ike/algorithms.ts';
import { keyMaterial, type SessionInput } from './ike/sessions.ts';
import type { Policy } from './liveness/policy.ts';

const SA = fieldNumbers(SaSchema);
const ID = fieldNumbers(SaIdSchema);
const ENDPOINT = fieldNumbers(EndpointSchema);
const POLICY = fieldNumbers(PolicySchema);
const KEYS = fieldNumbers(SaKeysSchema);
/** IKE's port with NAT traversal (RFC 3948). */
const NAT_T_PORT = 4500;
const NONE: Uint8Array = new Uint8Array(0);

/** What a shard's thread needs to know of an SA. */
export type WatchedSa = Pick<SessionInput, 'spi' | 'headendIsInitiator' | 'address' | 'port'> & {
  readonly policy: Policy;
  readonly nextMessageId: number;
  readonly parked: boolean;
};

/** Reads an Sa without its keys. */
export function readSa(message: Uint8Array): WatchedSa {
  const reader = new BinaryReader(message);
  const endpoints: Uint8Array[] = [];
  let id = NONE;
  let policy = NONE;
  let headendIsInitiator = false;
  let parked = false;
  let active = 0;
  let nextMessageId = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === SA.id) id = merged(id, reader.bytes());
    else if (field === SA.headendIsInitiator) headendIsInitiator = reader.bool();
    else if (field === SA.endpoints) endpoints.push(reader.bytes());
    else if (field === SA.activeEndpoint) active = reader.uint32();
    else if (field === SA.policy) policy = merged(policy, reader.bytes());
    else if (field === SA.nextMessageId) nextMessageId = reader.uint32();
    else if (field === SA.parked) parked = reader.bool();
    else reader.skip(type, field);
  }
  const endpoint = endpoints[active];
  if (!endpoint || policy.length === 0) throw new RangeError('an SA without endpoint or policy');
  const { address, port } = readEndpoint(endpoint);
  return { spi: readId(id), headendIsInitiator, address, port, policy: readPolicy(policy), nextMessageId, parked };
}

/** Reads of an Sa what its headend is told of it, and its site. */
export function readSaHead(message: Uint8Array): { revision: number; site: string } {
  const reader = new BinaryReader(message);
  const head = { revision: 0, site: '' };
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === SA.revision) head.revision = reader.uint32();
    else if (field === SA.site) head.site = reader.string();
    else reader.skip(type, field);
  }
  return head;
}

/** Reads SaKeys. Throws RangeError if they fit no suite. */
export function readKeys(message: Uint8Array, headendIsInitiator: boolean): NonNullable<SessionInput['keys']> {
  const reader = new BinaryReader(message);
  const keys = { skEi: NONE, skEr: NONE, skAi: NONE, skAr: NONE };
  let encryption = 0;
  let integrity = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === KEYS.encryption) encryption = reader.int32();
    else if (field === KEYS.integrity) integrity = reader.int32();
    else if (field === KEYS.skEi) keys.skEi = reader.bytes();
    else if (field === KEYS.skEr) keys.skEr = reader.bytes();
    else if (field === KEYS.skAi) keys.skAi = reader.bytes();
    else if (field === KEYS.skAr) keys.skAr = reader.bytes();
    else reader.skip(type, field);
  }
  const suite = findSuite(encryption, integrity, keys.skEi.length);
  if (!suite) throw new RangeError(`no suite for encryption ${encryption}, integrity ${integrity}`);
  return { suite: suite.index, material: keyMaterial(suite, headendIsInitiator, keys) };
}

/** A message given in parts is their concatenation. */
function merged(before: Uint8Array, more: Uint8Array): Uint8Array {
  return before.length === 0 ? more : Buffer.concat([before, more]);
}

function readId(message: Uint8Array): SessionInput['spi'] {
  const reader = new BinaryReader(message);
  let [i0, i1, r0, r1] = [0, 0, 0, 0];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    // 64 bits, the low ones first.
    if (field === ID.initiatorSpi) [i1, i0] = [reader.fixed32(), reader.fixed32()];
    else if (field === ID.responderSpi) [r1, r0] = [reader.fixed32(), reader.fixed32()];
    else reader.skip(type, field);
  }
  return [i0, i1, r0, r1];
}

function readEndpoint(message: Uint8Array): { address: number; port: number } {
  const reader = new BinaryReader(message);
  let address = 0;
  let port = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === ENDPOINT.address) address = addressNumber(reader.string());
    else if (field === ENDPOINT.port) port = reader.uint32();
    else reader.skip(type, field);
  }
  return { address, port: port || NAT_T_PORT };
}

/** Policies come in runs of equal ones: read once, and one object. */
function readPolicy(message: Uint8Array): Policy {
  if (Buffer.compare(message, lastBytes) === 0) return lastPolicy;
  const reader = new BinaryReader(message);
  let [mode, intervalMs, retryIntervalMs, retries, jitterPercent] = [0, 0, 0, 0, 0];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === POLICY.mode) mode = reader.int32();
    else if (field === POLICY.intervalMs) intervalMs = reader.uint32();
    else if (field === POLICY.retryIntervalMs) retryIntervalMs = reader.uint32();
    else if (field === POLICY.retries) retries = reader.uint32();
    else if (field === POLICY.jitterPercent) jitterPercent = reader.uint32();
    else reader.skip(type, field);
  }
  lastBytes = Uint8Array.from(message);
  lastPolicy = { mode: mode as Policy['mode'], intervalMs, retryIntervalMs, retries, jitterPercent };
  return lastPolicy;
}
let lastBytes = NONE;
let lastPolicy: Policy;
