/**
 * What the API accepts. Each check names the field, the value and the limit; nothing changes before all checks pass.
 */

import { isIP } from 'node:net';
import type {
  DelegatedResults,
  Evidence,
  Hello,
  LeftOut,
  Path,
  RemoveSas,
  UpsertSas,
  VerdictAcks,
  VerdictsUnderWay,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import {
  Action,
  DpdSupport,
  Outcome,
  type Policy,
  type Sa,
  type SaId,
  type SaKeys,
  type VerdictAck,
} from '../../proto/gen/dpd/v1/types_pb.js';
import { Address } from '../../workers/base/address.ts';
import { reachOf } from '../../workers/base/reach.ts';
import { findIkev1Suite } from '../../workers/ikev1/suites.ts';
import { IKE_PORT, MAX_BARE_INDEX, MAX_FIRST_ID, MAX_MARKER_INDEX, NAT_T_PORT } from '../../workers/ikev2/header.ts';
import { findSuite } from '../../workers/ikev2/suites.ts';
import { MAX_WAYS } from '../../workers/liveness/interlock.ts';
import type { Policy as WatchedPolicy } from '../../workers/liveness/policy.ts';
import { policyFaults } from '../../workers/liveness/policy-limits.ts';
import type { Violation } from './grpc/errors.ts';
import { findPreset, PRESET_NAMES } from './policy/presets.ts';
import { shardOf } from './spi.ts';

/** Items on a page, if a request does not say. */
export const DEFAULT_PAGE = 100;

export const LIMITS = {
  instanceBytes: 64,
  shards: 256,
  upsertBatch: 1_000,
  removeBatch: 10_000,
  evidenceHandles: 100_000,
  evidenceAgeMs: 3_600_000,
  delegatedResults: 100_000,
  acks: 1_000,
  verdictIdBytes: 128,
  ways: MAX_WAYS,
  endpoints: 16,
  childSpis: 64,
  peerIdBytes: 128,
  siteBytes: 64,
  /** The year 2200. */
  unixMs: 7_258_118_400_000,
  policySourceBytes: 128,
  ackDetailBytes: 512,
  connectionBytes: 128,
  pageSize: 1_000,
  leftOut: 100,
  whyBytes: 256,
  /** All of the limits above together stay below. */
  saBytes: 4_092,
  keysBytes: 1_024,
} as const;

const HEADEND_NAME = /^[A-Za-z0-9._-]{1,64}$/;

/** The address checked last: none is made for each. */
const TARGET = new Address();

/** Collects violations under a path. */
class Checker {
  readonly violations: Violation[] = [];
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  fail(field: string, description: string): void {
    this.violations.push({ field: this.#prefix ? `${this.#prefix}.${field}` : field, description });
  }

  range(field: string, value: number, { min, max }: { min: number; max: number }, unit = ''): void {
    if (value < min || value > max) this.fail(field, `${value} is not within ${min} to ${max}${unit}`);
  }

  atMost(field: string, count: number, limit: number): void {
    if (count > limit) this.fail(field, `${count} items, at most ${limit}`);
  }

  bytes(field: string, value: string, min: number, max: number): void {
    const length = Buffer.byteLength(value);
    if (length < min || length > max) this.fail(field, `${length} bytes, must be ${min} to ${max}`);
  }

  headend(field: string, value: string): void {
    if (!HEADEND_NAME.test(value)) this.fail(field, `"${value.slice(0, 80)}" is not 1 to 64 of [A-Za-z0-9._-]`);
  }

  address(field: string, value: string): boolean {
    if (isIP(value) > 0 && !value.includes('%')) return true;
    this.fail(field, `"${value.slice(0, 80)}" is not an IP address`);
    return false;
  }

  /** An address that something is sent to. */
  target(field: string, value: string, loopback: boolean): void {
    if (!this.address(field, value)) return;
    TARGET.read(Buffer.from(value, 'latin1'));
    const reach = reachOf(TARGET);
    if (reach === 'nobody') this.fail(field, `${value} is not the address of one host`);
    else if (reach === 'loopback' && !loopback)
      this.fail(field, `${value} is on loopback, and the node's own address is not`);
  }

  ikePort(field: string, value: number): void {
    if (value !== 0 && value !== IKE_PORT && value !== NAT_T_PORT)
      this.fail(field, `${value} is not ${IKE_PORT} or ${NAT_T_PORT}`);
  }

  include(violations: readonly Violation[], path: string): void {
    for (const { field, description } of violations) this.fail(`${path}.${field}`, description);
  }
}

export function checkHello(hello: Hello): Violation[] {
  const check = new Checker('hello');
  check.headend('headend', hello.headend);
  const { shards, shard } = hello;
  if (shards < 1 || shards > LIMITS.shards || (shards & (shards - 1)) !== 0)
    check.fail('shards', `${shards} is not a power of two from 1 to ${LIMITS.shards}`);
  else check.range('shard', shard, { min: 0, max: shards - 1 });
  const bytes = Buffer.byteLength(hello.instance);
  if (bytes > LIMITS.instanceBytes) check.fail('instance', `${bytes} bytes, at most ${LIMITS.instanceBytes}`);
  return check.violations;
}

/** The shard that messages are for, and what they may contain there. */
export type Door = {
  readonly shard: number;
  readonly shards: number;
  /** Peers may be on loopback, as they are in tests: whoever calls is on this host. */
  readonly loopback: boolean;
};

export function checkUpsert(upsert: UpsertSas, door: Door): Violation[] {
  const check = new Checker('upsert');
  check.atMost('sas', upsert.sas.length, LIMITS.upsertBatch);
  if (check.violations.length > 0) return check.violations;
  const seen = new Set<string>();
  upsert.sas.forEach((sa, n) => {
    check.include(checkSa(sa, door), `sas[${n}]`);
    const pair = `${sa.id?.initiatorSpi}/${sa.id?.responderSpi}`;
    if (seen.has(pair)) check.fail(`sas[${n}].id`, 'names the same SA as an earlier item of the batch');
    seen.add(pair);
  });
  return check.violations;
}

/** Of each SA of an upsert, as it is stored. */
export function checkSizes(
  sas: readonly { readonly sa: Uint8Array; readonly keys: Uint8Array | undefined }[],
): Violation[] {
  const check = new Checker('upsert');
  sas.forEach(({ sa, keys }, n) => {
    const { saBytes, keysBytes } = LIMITS;
    if (sa.length > saBytes) check.fail(`sas[${n}]`, `${sa.length} bytes without keys, at most ${saBytes}`);
    if (keys && keys.length > keysBytes) check.fail(`sas[${n}].keys`, `${keys.length} bytes, at most ${keysBytes}`);
  });
  return check.violations;
}

/** What is wrong with one SA of a shard. */
export function checkSa(sa: Sa, door: Door): Violation[] {
  const check = new Checker('');
  checkSaId(check, sa.id, door);
  check.bytes('peer_id', sa.peerId, 1, LIMITS.peerIdBytes);
  const ikev1 = sa.ikeVersion === 1;
  if (!ikev1 && sa.ikeVersion !== 2) check.fail('ike_version', `${sa.ikeVersion} is not supported, must be 1 or 2`);
  checkSupport(check, sa, ikev1);
  const endpoints = sa.endpoints.length;
  if (endpoints < 1 || endpoints > LIMITS.endpoints)
    check.fail('endpoints', `${endpoints} items, must be 1 to ${LIMITS.endpoints}`);
  else check.range('active_endpoint', sa.activeEndpoint, { min: 0, max: endpoints - 1 });
  sa.endpoints.slice(0, LIMITS.endpoints).forEach((endpoint, n) => {
    check.target(`endpoints[${n}].address`, endpoint.address, door.loopback);
    check.range(`endpoints[${n}].port`, endpoint.port, { min: 0, max: 65_535 });
    check.bytes(`endpoints[${n}].connection`, endpoint.connection, 0, LIMITS.connectionBytes);
  });
  check.range('pinned_endpoint', sa.pinnedEndpoint, { min: 0, max: endpoints });
  check.range('mute_until_unix_ms', Number(sa.muteUntilUnixMs), { min: 0, max: LIMITS.unixMs });
  check.include(checkPolicy(sa.policy), 'policy');
  if (sa.keys) check.include(ikev1 ? checkIkev1Keys(sa.keys) : checkKeys(sa.keys), 'keys');
  check.range('next_message_id', sa.nextMessageId, { min: 0, max: MAX_FIRST_ID });
  check.atMost('child_spis', sa.childSpis.length, LIMITS.childSpis);
  if (sa.localAddress !== '') check.address('local_address', sa.localAddress);
  check.ikePort('local_port', sa.localPort);
  check.bytes('site', sa.site, 0, LIMITS.siteBytes);
  return check.violations;
}

function checkSaId(check: Checker, id: SaId | undefined, { shard, shards }: Pick<Door, 'shard' | 'shards'>): void {
  if (!id) check.fail('id', 'is missing');
  else if (id.initiatorSpi === 0n || id.responderSpi === 0n) check.fail('id', 'an SPI of 0 names no established SA');
  else if (shardOf(id.responderSpi, shards) !== shard)
    check.fail('id.responder_spi', `0x${id.responderSpi.toString(16)} is not of shard ${shard} of ${shards}`);
}

/** A member as the proto names it. */
function snakeCase(member: string): string {
  return member.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function checkPolicy(policy: Policy | undefined): Violation[] {
  const check = new Checker('');
  if (!policy) check.fail('mode', 'is missing');
  else {
    if (Action[policy.action] === undefined) check.fail('action', `${policy.action} is not a known action`);
    if (policy.preset !== '' && !findPreset(policy.preset))
      check.fail('preset', `"${policy.preset.slice(0, 80)}" is not known, only ${PRESET_NAMES.join(', ')}`);
    check.bytes('source', policy.source, 0, LIMITS.policySourceBytes);
    for (const { member, why } of policyFaults(policy as WatchedPolicy)) check.fail(snakeCase(member), why);
  }
  return check.violations;
}

function checkSupport(check: Checker, { dpdSupport }: Sa, ikev1: boolean): void {
  if (DpdSupport[dpdSupport] === undefined) check.fail('dpd_support', `${dpdSupport} is not known`);
  else if (!ikev1 && dpdSupport !== DpdSupport.UNSPECIFIED)
    check.fail('dpd_support', `${dpdSupport} is only for ike_version 1: IKEv2 has no DPD that a peer may lack`);
}

/** The error names lengths, never bytes. */
function checkIkev1Keys({ encryption, prf, encryptionKey, skeyidA, phase1Block, ...keys }: SaKeys): Violation[] {
  const check = new Checker('');
  const suite = findIkev1Suite(encryption, encryptionKey.length, prf);
  if (keys.integrity !== 0) check.fail('integrity', `${keys.integrity} must be 0 for ike_version 1: its prf is in prf`);
  if (keys.skEi.length + keys.skEr.length + keys.skAi.length + keys.skAr.length > 0)
    check.fail('sk_ei', 'sk_ei, sk_er, sk_ai and sk_ar must be empty for ike_version 1');
  if (!suite)
    check.fail(
      'encryption',
      `encryption ${encryption} with prf ${prf} and an encryption_key of ${encryptionKey.length} bytes is not supported by IKEv1`,
    );
  else {
    const length = (field: string, key: Uint8Array, expected: number) => {
      if (key.length !== expected) check.fail(field, `${key.length} bytes, must be ${expected} for ${suite.cipher}`);
    };
    length('skeyid_a', skeyidA, suite.hashLength);
    length('phase1_block', phase1Block, suite.blockLength);
  }
  return check.violations;
}

/** The error names lengths, never bytes. */
function checkKeys(keys: SaKeys): Violation[] {
  const check = new Checker('');
  const suite = findSuite(keys.encryption, keys.integrity, keys.skEi.length);
  if (keys.prf !== 0) check.fail('prf', `${keys.prf} is only for ike_version 1`);
  if (!suite)
    check.fail(
      'encryption',
      `encryption ${keys.encryption} with integrity ${keys.integrity} and an sk_ei of ${keys.skEi.length} bytes is not supported`,
    );
  else {
    const length = (field: string, key: Uint8Array, expected: number) => {
      if (key.length !== expected) check.fail(field, `${key.length} bytes, must be ${expected} for ${suite.cipher}`);
    };
    length('sk_er', keys.skEr, suite.keyLength + suite.saltLength);
    length('sk_ai', keys.skAi, suite.integrityKeyLength);
    length('sk_ar', keys.skAr, suite.integrityKeyLength);
  }
  return check.violations;
}

export function checkRemove(remove: RemoveSas, door: Pick<Door, 'shard' | 'shards'>): Violation[] {
  const check = new Checker('remove');
  check.atMost('sas', remove.sas.length, LIMITS.removeBatch);
  if (check.violations.length === 0)
    remove.sas.forEach((id, n) => {
      const item = new Checker('');
      checkSaId(item, id, door);
      for (const { field, description } of item.violations)
        check.fail(`sas[${n}].${field.replace(/^id\.?/, '')}`, description);
    });
  return check.violations;
}

export function checkEvidence(evidence: Evidence): Violation[] {
  const check = new Checker('evidence');
  check.atMost('heard_handles', evidence.heardHandles.length + evidence.sentHandles.length, LIMITS.evidenceHandles);
  check.range('age_ms', evidence.ageMs, { min: 0, max: LIMITS.evidenceAgeMs }, ' ms');
  return check.violations;
}

export function checkDelegatedResults(results: DelegatedResults): Violation[] {
  const check = new Checker('delegated_results');
  check.atMost('handles', results.handles.length, LIMITS.delegatedResults);
  if (results.handles.length !== results.probeIds.length)
    check.fail(
      'probe_ids',
      `${results.probeIds.length} items, must be one for each of ${results.handles.length} handles`,
    );
  return check.violations;
}

export function checkAcks(acks: VerdictAcks): Violation[] {
  const check = new Checker('verdict_acks');
  check.atMost('acks', acks.acks.length, LIMITS.acks);
  if (check.violations.length === 0) acks.acks.forEach((ack, n) => check.include(checkAck(ack), `acks[${n}]`));
  return check.violations;
}

export function checkUnderWay({ verdictIds, attempts }: VerdictsUnderWay): Violation[] {
  const check = new Checker('under_way');
  check.atMost('verdict_ids', verdictIds.length, LIMITS.acks);
  if (attempts.length !== verdictIds.length)
    check.fail('attempts', `${attempts.length} items for ${verdictIds.length} verdict_ids`);
  if (check.violations.length === 0)
    verdictIds.forEach((id, n) => check.bytes(`verdict_ids[${n}]`, id, 1, LIMITS.verdictIdBytes));
  return check.violations;
}

export function checkLeftOut({ sas, total }: LeftOut): Violation[] {
  const check = new Checker('left_out');
  check.atMost('sas', sas.length, LIMITS.leftOut);
  if (total < sas.length) check.fail('total', `${total} is less than the ${sas.length} sas`);
  if (check.violations.length === 0)
    sas.forEach(({ peerId, why }, n) => {
      check.bytes(`sas[${n}].peer_id`, peerId, 0, LIMITS.peerIdBytes);
      check.bytes(`sas[${n}].why`, why, 1, LIMITS.whyBytes);
    });
  return check.violations;
}

export function checkAck(ack: VerdictAck | undefined): Violation[] {
  const check = new Checker('');
  if (!ack) check.fail('verdict_id', 'is missing');
  else {
    check.bytes('verdict_id', ack.verdictId, 1, LIMITS.verdictIdBytes);
    if (ack.outcome === Outcome.UNSPECIFIED || Outcome[ack.outcome] === undefined)
      check.fail('outcome', `${ack.outcome} is not a known outcome`);
    check.bytes('detail', ack.detail, 0, LIMITS.ackDetailBytes);
  }
  return check.violations;
}

export function checkPath(path: Path, { loopback }: Pick<Door, 'loopback'>): Violation[] {
  const check = new Checker('path');
  if (!path.ready) return [];
  check.atMost('ways', path.ways.length, LIMITS.ways);
  if (path.ways.length === 0) checkCanary(check, '', path, loopback);
  path.ways.slice(0, LIMITS.ways).forEach((way, n) => {
    if (way.localAddress !== '') check.address(`ways[${n}].local_address`, way.localAddress);
    check.ikePort(`ways[${n}].local_port`, way.localPort);
    check.range(`ways[${n}].index`, way.index, {
      min: 0,
      max: way.localPort === IKE_PORT ? MAX_BARE_INDEX : MAX_MARKER_INDEX,
    });
    if (way.canaryAddress !== '') checkCanary(check, `ways[${n}].`, way, loopback);
  });
  return check.violations;
}

function checkCanary(
  check: Checker,
  prefix: string,
  { canaryAddress, canaryPort }: { readonly canaryAddress: string; readonly canaryPort: number },
  loopback: boolean,
): void {
  check.target(`${prefix}canary_address`, canaryAddress, loopback);
  check.range(`${prefix}canary_port`, canaryPort, { min: 1, max: 65_535 });
}

export function checkHeadendName(field: string, headend: string): Violation[] {
  const check = new Checker('');
  check.headend(field, headend);
  return check.violations;
}

export function checkPeerId(peerId: string): Violation[] {
  const check = new Checker('');
  check.bytes('peer_id', peerId, 1, LIMITS.peerIdBytes);
  return check.violations;
}

export function checkPageSize(pageSize: number, field = 'page_size'): Violation[] {
  const check = new Checker('');
  check.range(field, pageSize, { min: 0, max: LIMITS.pageSize });
  return check.violations;
}

export function checkShard(shard: number): Violation[] {
  const check = new Checker('');
  check.range('shard', shard, { min: 0, max: LIMITS.shards - 1 });
  return check.violations;
}
