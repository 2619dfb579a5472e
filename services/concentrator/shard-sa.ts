/** An SA from the API's form into the shard's. */

import { create } from '@bufbuild/protobuf';
import { type Policy as ApiPolicy, type Sa, type SaKeys, SaKeysSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import type { CheckpointRow } from '../../workers/checkpoint.ts';
import { findSuite, SUITES } from '../../workers/ike/algorithms.ts';
import { MAX_CANDIDATES } from '../../workers/ike/liveness.ts';
import { keyMaterial, splitKeyMaterial } from '../../workers/ike/sessions.ts';
import { SPREAD } from '../../workers/liveness/machine.ts';
import { Mode, type Policy } from '../../workers/liveness/policy.ts';
import type { ShardSa } from '../../workers/protocol.ts';
import { spiWords } from '../spi.ts';
import { type Checkpoint, LEASE_MS } from '../store/shard-store.ts';

/** IKE's port with NAT traversal (RFC 3948). */
const NAT_T_PORT = 4500;
/** An SA registered after the checkpoint was taken: nothing is known of what it was asked since. */
const NEW = { heardUnix: 0, outstanding: true, fresh: true, doubt: 0 } as const;

type Known = Pick<ShardSa, 'nextMid' | 'heardAgeMs' | 'dead' | 'candidates' | 'site' | 'firstAskMs'>;
type Outside = Pick<ShardSa, 'dead' | 'site'>;
type StoredForm = { readonly spi: string; readonly sa: Sa; readonly keys: SaKeys | undefined };

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

/** An SA as its former owner left it, for the new one. */
export function resume(handle: number, stored: StoredForm, checkpoint: Checkpoint, known: Outside): ShardSa {
  const { sa, keys, spi } = stored;
  const row = checkpoint.rows.get(spi);
  const candidates = candidateIds(row ?? NEW, checkpoint, toPolicy(sa.policy!));
  const ageMs = row ? Math.max(0, checkpoint.atUnix - row.heardUnix) : 0;
  // Ids that cannot be found again would make a living peer look dead: better not watched than killed.
  const lost = keys !== undefined && candidates > MAX_CANDIDATES;
  const resumed = toShardSa(handle, sa, keys, {
    ...known,
    nextMid: row?.nextMid ?? sa.nextMessageId,
    // Evidence may have come that no checkpoint tells of: unless the former owner had stopped, it counts as come now.
    heardAgeMs: row && checkpoint.final ? ageMs : 0,
    candidates: lost ? 0 : candidates,
    // The peer is asked when it would have been, so that those taken over together are not asked together.
    firstAskMs: !row || row.fresh ? SPREAD : checkpoint.final ? undefined : Math.max(0, sa.policy!.intervalMs - ageMs),
  });
  return lost ? { ...resumed, policy: { ...resumed.policy, mode: Mode.DISABLED } } : resumed;
}

/**
 * Message ids that may be the next one. The former owner may have gone on after its last checkpoint, for as long as that
 * is old; the request that was under way may have been answered; and he may not have known it himself.
 */
export function candidateIds(
  row: Pick<CheckpointRow, 'heardUnix' | 'outstanding' | 'fresh' | 'doubt'>,
  { ageMs, final, atUnix }: Pick<Checkpoint, 'ageMs' | 'final' | 'atUnix'>,
  policy: Policy,
): number {
  const spacingMs = policy.intervalMs * (1 - policy.jitterPercent / 100);
  if (!row.outstanding) {
    const quiet = policy.mode !== Mode.PERIODIC && !row.fresh && atUnix + ageMs + LEASE_MS < row.heardUnix + spacingMs;
    if (final || quiet) return 1 + row.doubt;
  }
  return 2 + row.doubt + (final || spacingMs === 0 ? 0 : Math.floor((ageMs + LEASE_MS) / spacingMs));
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

/** The same object for equal policies in a row: a message to a thread then holds it once. */
function toPolicy(policy: ApiPolicy): Policy {
  const { intervalMs, retryIntervalMs, retries, jitterPercent } = policy;
  const mode = policy.mode as Policy['mode'];
  if (
    mode !== lastPolicy.mode ||
    intervalMs !== lastPolicy.intervalMs ||
    retryIntervalMs !== lastPolicy.retryIntervalMs ||
    retries !== lastPolicy.retries ||
    jitterPercent !== lastPolicy.jitterPercent
  )
    lastPolicy = { mode, intervalMs, retryIntervalMs, retries, jitterPercent };
  return lastPolicy;
}
let lastPolicy: Policy = { mode: Mode.DISABLED, intervalMs: 0, retryIntervalMs: 0, retries: 0, jitterPercent: 0 };

function toMaterial(sa: Sa, keys: SaKeys): { suite: number; material: Uint8Array } {
  const suite = findSuite(keys.encryption, keys.integrity, keys.skEi.length);
  if (!suite) throw new RangeError(`no suite for encryption ${keys.encryption}, integrity ${keys.integrity}`);
  return { suite: suite.index, material: keyMaterial(suite, sa.headendIsInitiator, keys) };
}
