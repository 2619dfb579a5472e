/** SAs on their way into a shard: their messages read, and after a takeover what their former owner knew of them. */

import type { CheckpointRow } from './checkpoint.ts';
import { FormerRows } from './former-rows.ts';
import { MAX_CANDIDATES } from './ike/liveness.ts';
import type { SessionInput, SessionKeys } from './ike/sessions.ts';
import type { KeyKeeper } from './key-keeper.ts';
import { SPREAD } from './liveness/machine.ts';
import { leastSpacingMs, Mode, type Policy } from './liveness/policy.ts';
import type { FormerOwners, LeftOut } from './protocol.ts';
import { readKeys, readSa, type WatchedSa } from './sa-message.ts';
import { forEachRow, type PageRow, type SaPage } from './sa-page.ts';

/** An SA for the shard. A handle already in use is updated: policy, address, parking and missing keys. */
export type ShardSa = SessionInput & {
  readonly policy: Policy;
  /** Site label as a number of the main thread's; 0 for none. */
  readonly site: number;
  readonly parked: boolean;
  /** Age of the last evidence, ms. */
  readonly heardAgeMs: number;
  /** A verdict on this SA is already in the log: keep it, give no other. */
  readonly dead: boolean;
  /** After a takeover: message ids from nextMid on that may be the next one; 0 or 1 if it is known. */
  readonly candidates: number;
  /** Wait before it is asked for the first time, ms, or SPREAD; undefined: as its policy says. See Machine.add. */
  readonly firstAskMs: number | undefined;
};

/** An SA registered after the checkpoint was taken: nothing is known of what it was asked since. */
const UNTOLD = { heardUnix: 0, outstanding: true, fresh: true, doubt: 0 } as const;

export class Intake {
  readonly #keys: KeyKeeper;
  #former: FormerOwners | undefined;
  #rows = new FormerRows([]);
  /** Keys were opened: this is the vault key that sealed them. */
  #proven = false;

  constructor(keys: KeyKeeper) {
    this.#keys = keys;
  }

  /** A takeover begins, or is over. */
  takeOver(former: FormerOwners | undefined): void {
    this.#former = former;
    this.#rows = new FormerRows(former?.chunks ?? []);
    this.#keys.takeOver(former?.headend);
  }

  /** Takes SAs that their headend registers. */
  register(page: SaPage, take: (sa: ShardSa) => void): void {
    forEachRow(page, (row) => {
      const sa = readSa(row.sa);
      const keys = row.keys && readKeys(row.keys, sa.headendIsInitiator);
      if (keys) this.#keys.forget(row.handle);
      take(joined(row, sa, keys, { nextMid: sa.nextMessageId, heardAgeMs: 0, candidates: 0, firstAskMs: SPREAD }));
    });
  }

  /** Takes SAs of former owners, their keys sealed. One that cannot be watched is left out, and named. */
  resume(page: SaPage, take: (sa: ShardSa) => void): LeftOut {
    const former = this.#former!;
    const unreadable: number[] = [];
    const lost: number[] = [];
    const tried = { opened: 0, sealed: 0 };
    forEachRow(page, (row, n) => {
      try {
        const sa = readSa(row.sa);
        const known = this.#rows.find(sa.spi);
        const candidates = row.keys ? candidateIds(known ?? UNTOLD, former, sa.policy) : 0;
        if (candidates > MAX_CANDIDATES) return void lost.push(row.handle);
        const keys =
          row.keys && (this.#proven ? this.#keys.keep(row.handle, page, n) : this.#prove(row.keys, sa, tried));
        take(resumed(row, sa, keys, known, candidates, former));
      } catch {
        unreadable.push(row.handle);
      }
    });
    return { unreadable, lost, ...tried };
  }

  /** Opens keys to see that they can be opened at all. */
  #prove(
    keys: Uint8Array,
    { spi, headendIsInitiator }: WatchedSa,
    tried: { opened: number; sealed: number },
  ): SessionKeys {
    try {
      const read = this.#keys.read(keys, spi, headendIsInitiator);
      this.#proven = true;
      tried.opened++;
      return read;
    } catch (error) {
      tried.sealed++;
      throw error;
    }
  }
}

/** An SA as its former owner left it, for the new one. */
function resumed(
  row: PageRow,
  sa: WatchedSa,
  keys: SessionInput['keys'],
  known: CheckpointRow | undefined,
  candidates: number,
  former: FormerOwners,
): ShardSa {
  const { policy } = sa;
  const ageMs = known ? Math.max(0, former.atUnix - known.heardUnix) : 0;
  return joined(row, sa, keys, {
    nextMid: known?.nextMid ?? sa.nextMessageId,
    // Evidence may have come that no checkpoint tells of: unless the former owner had stopped, it counts as come now.
    heardAgeMs: known && former.final ? ageMs : 0,
    candidates,
    // The peer is asked when it would have been, so that those taken over together are not asked together.
    firstAskMs: !known || known.fresh ? SPREAD : former.final ? undefined : Math.max(0, policy.intervalMs - ageMs),
  });
}

function joined(
  { handle, site, dead }: PageRow,
  { spi, headendIsInitiator, address, port, policy, parked }: WatchedSa,
  keys: SessionInput['keys'],
  known: Pick<ShardSa, 'nextMid' | 'heardAgeMs' | 'candidates' | 'firstAskMs'>,
): ShardSa {
  const { nextMid, heardAgeMs, candidates, firstAskMs } = known;
  return {
    handle,
    spi,
    headendIsInitiator,
    address,
    port,
    ...(keys && { keys }),
    nextMid,
    policy,
    site,
    parked,
    heardAgeMs,
    dead,
    candidates,
    firstAskMs,
  };
}

/**
 * Message ids that may be the next one. The former owner may have gone on after its last checkpoint, for as long as that
 * is old and his lease held; the request that was under way may have been answered; and he may not have known it himself.
 */
export function candidateIds(
  row: Pick<CheckpointRow, 'heardUnix' | 'outstanding' | 'fresh' | 'doubt'>,
  { ageMs, final, atUnix, leaseMs }: Pick<FormerOwners, 'ageMs' | 'final' | 'atUnix' | 'leaseMs'>,
  policy: Policy,
): number {
  const spacingMs = leastSpacingMs(policy);
  if (!row.outstanding) {
    const quiet = policy.mode !== Mode.PERIODIC && !row.fresh && atUnix + ageMs + leaseMs < row.heardUnix + spacingMs;
    if (final || quiet) return 1 + row.doubt;
  }
  return 2 + row.doubt + (final || spacingMs === 0 ? 0 : Math.floor((ageMs + leaseMs) / spacingMs));
}
