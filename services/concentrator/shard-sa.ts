/** An SA from the API's form into the shard's. */

import { create } from '@bufbuild/protobuf';
import { type Policy as ApiPolicy, type Sa, type SaKeys, SaKeysSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { findSuite, SUITES } from '../../workers/ike/algorithms.ts';
import { MAX_CANDIDATES } from '../../workers/ike/liveness.ts';
import { keyMaterial, splitKeyMaterial } from '../../workers/ike/sessions.ts';
import type { Policy } from '../../workers/liveness/policy.ts';
import type { ShardSa } from '../../workers/protocol.ts';
import { spiWords } from '../spi.ts';

/** IKE's port with NAT traversal (RFC 3948). */
const NAT_T_PORT = 4500;
/** Exchanges that may have run between the last checkpoint and a crash, whatever the interval. */
const CANDIDATES_FLOOR = 4;

type Known = Pick<ShardSa, 'nextMid' | 'heardAgeMs' | 'dead' | 'candidates' | 'site'>;

/** Joins a checked SA with what is known of its liveness. */
export function toShardSa(handle: number, sa: Sa, keys: SaKeys | undefined, known: Known): ShardSa {
  const endpoint = sa.endpoints[sa.activeEndpoint]!;
  return {
    handle,
    spi: spiWords(sa.id!),
    headendIsInitiator: sa.headendIsInitiator,
    address: addressNumber(endpoint.address),
    port: endpoint.port || NAT_T_PORT,
    policy: toPolicy(sa.policy!),
    parked: sa.parked,
    ...(keys && { keys: toMaterial(sa, keys) }),
    ...known,
  };
}

/**
 * Message ids that may be the next one after a takeover: as many exchanges as fit into the time since the checkpoint,
 * for the former owner may have gone on while Redis was away.
 */
export function candidateIds(checkpointAgeMs: number, intervalMs: number): number {
  const exchanges = intervalMs > 0 ? Math.ceil(checkpointAgeMs / intervalMs) : 0;
  return Math.min(CANDIDATES_FLOOR + exchanges, MAX_CANDIDATES);
}

/** Keys as a shard holds them, back in the API's form. */
export function toSaKeys(sa: Sa, { suite: index, material }: { suite: number; material: Uint8Array }): SaKeys {
  const suite = SUITES[index]!;
  return create(SaKeysSchema, {
    encryption: suite.encryption,
    integrity: suite.integrity,
    ...splitKeyMaterial(suite, sa.headendIsInitiator, material),
  });
}

/** An IPv4 address as a number. */
export function addressNumber(dotted: string): number {
  return dotted.split('.').reduce((number, byte) => number * 256 + Number(byte), 0);
}

function toPolicy(policy: ApiPolicy): Policy {
  const { intervalMs, retryIntervalMs, retries, jitterPercent } = policy;
  return { mode: policy.mode as Policy['mode'], intervalMs, retryIntervalMs, retries, jitterPercent };
}

function toMaterial(sa: Sa, keys: SaKeys): { suite: number; material: Uint8Array } {
  const suite = findSuite(keys.encryption, keys.integrity, keys.skEi.length);
  if (!suite) throw new RangeError(`no suite for encryption ${keys.encryption}, integrity ${keys.integrity}`);
  return { suite: suite.index, material: keyMaterial(suite, sa.headendIsInitiator, keys) };
}
