/** SAs on their way into a shard: their messages read, and after a takeover what their former owner knew of them. */

import { MAX_CANDIDATES } from '../ikev2/exchange.ts';
import type { SessionInput, SessionKeys } from '../ikev2/sessions.ts';
import type { KeyKeeper } from '../keys/key-keeper.ts';
import { SPREAD } from '../liveness/machine.ts';
import { leastSpacingMs, Mode, type Policy } from '../liveness/policy.ts';
import { readKeys, readSa, type WatchedSa } from '../sa/sa-message.ts';
import { keysOf, NO_HANDLE, RecordCursor, type SaPage } from '../sa/sa-page.ts';
import { type FormerRow, FormerRows } from '../takeover/former-rows.ts';
import type { FormerOwners, LeftOut } from './protocol.ts';

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
    for (const cursor = new RecordCursor(page); cursor.next(); ) {
      const { row } = cursor;
      const sa = readSa(cursor.reader, cursor.saEnd);
      const keys = cursor.hasKeys ? readKeys(keysOf(page, row)!, sa.headendIsInitiator) : undefined;
      if (keys) this.#keys.forget(page.handles[row]!);
      take(joined(page, row, sa, keys, { nextMid: sa.nextMessageId, ...NEW }));
    }
  }

  /** Takes SAs of former owners, their keys sealed. One that cannot be watched is left out, and named. */
  resume(page: SaPage, take: (sa: ShardSa) => void): LeftOut {
    const former = this.#former!;
    const unreadable: number[] = [];
    const lost: number[] = [];
    const tried = { opened: 0, sealed: 0 };
    for (const cursor = new RecordCursor(page); cursor.next(); ) {
      const { row } = cursor;
      const handle = page.handles[row]!;
      if (handle === NO_HANDLE) continue;
      try {
        const sa = readSa(cursor.reader, cursor.saEnd);
        const known = this.#rows.find(sa.spi);
        const candidates = cursor.hasKeys ? candidateIds(known ?? UNTOLD, former, sa.policy) : 0;
        if (candidates > MAX_CANDIDATES) {
          lost.push(handle);
          continue;
        }
        const keys = cursor.hasKeys ? this.#keep(page, row, sa, tried) : undefined;
        take(joined(page, row, sa, keys, resumed(sa, known, candidates, former)));
      } catch {
        unreadable.push(handle);
      }
    }
    return { unreadable, lost, ...tried };
  }

  /** Keeps keys sealed, once some have been opened. */
  #keep(page: SaPage, row: number, sa: WatchedSa, tried: { opened: number; sealed: number }): SessionInput['keys'] {
    if (this.#proven) return this.#keys.keep(page.handles[row]!, page, row);
    return this.#prove(keysOf(page, row)!, sa, tried);
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

/** What an SA does not say of itself. */
type Known = Pick<ShardSa, 'nextMid' | 'heardAgeMs' | 'candidates' | 'firstAskMs'>;

/** Of one that its headend registers. */
const NEW = { heardAgeMs: 0, candidates: 0, firstAskMs: SPREAD } as const;

/** Of one as its former owner left it, for the new one. */
function resumed(
  { policy, nextMessageId }: WatchedSa,
  known: FormerRow | undefined,
  candidates: number,
  { atUnix, final }: FormerOwners,
): Known {
  const ageMs = known ? Math.max(0, atUnix - known.heardUnix) : 0;
  return {
    nextMid: known?.nextMid ?? nextMessageId,
    // Evidence may have come that no checkpoint tells of: unless the former owner had stopped, it counts as come now.
    heardAgeMs: known && final ? ageMs : 0,
    candidates,
    // The peer is asked when it would have been, so that those taken over together are not asked together.
    firstAskMs: !known || known.fresh ? SPREAD : final ? undefined : Math.max(0, policy.intervalMs - ageMs),
  };
}

function joined(
  { handles, sites, dead }: SaPage,
  row: number,
  { spi, headendIsInitiator, address, port, policy, parked }: WatchedSa,
  keys: SessionInput['keys'],
  { nextMid, heardAgeMs, candidates, firstAskMs }: Known,
): ShardSa {
  return {
    handle: handles[row]!,
    spi,
    headendIsInitiator,
    address,
    port,
    keys,
    nextMid,
    policy,
    site: sites[row]!,
    parked,
    heardAgeMs,
    dead: dead[row] === 1,
    candidates,
    firstAskMs,
  };
}

/**
 * Message ids that may be the next one. Former owners may have gone on after the last checkpoint, for as long as that is old
 * and a lease holds, and moved the id on by one with each question; the request that was under way may have been answered;
 * and the id may not have been known then.
 */
export function candidateIds(
  row: Pick<FormerRow, 'heardUnix' | 'outstanding' | 'fresh' | 'doubt'>,
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
