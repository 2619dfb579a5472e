/** Takes SAs into a shard: reads their messages and, after a takeover, what their former owner knew of them. */

import { wordsHex } from '../base/spi.ts';
import { isIkev1, SEALED, type SessionInput, type SessionKeys } from '../ikev2/sessions.ts';
import type { KeyKeeper } from '../keys/key-keeper.ts';
import { SPREAD } from '../liveness/machine.ts';
import type { Policy } from '../liveness/policy.ts';
import { NO_HANDLE } from '../sa/ids.ts';
import { readKeys, readSa, type WatchedSa } from '../sa/sa-message.ts';
import { keysOf, RecordCursor, type SaPage } from '../sa/sa-page.ts';
import { checkWatchable } from '../sa/watchable.ts';
import type { FormerOwners, Translated } from '../takeover/checkpoint.ts';
import { type FormerRow, FormerRows } from '../takeover/former-rows.ts';

/** An SA for the shard. A handle already in use is updated: policy, address, parking and missing keys. */
export type ShardSa = SessionInput & {
  readonly policy: Policy;
  /** Site label as a number of the main thread's; 0 for none. */
  readonly site: number;
  readonly parked: boolean;
  /** The headend's address that it ends at, and its port. */
  readonly local: string;
  readonly ikePort: number;
  /** No verdict before this moment, Unix ms; 0: not muted. */
  readonly muteUntilUnixMs: number;
  /** Age of the last evidence, ms. */
  readonly heardAgeMs: number;
  /** A verdict on this SA is already in the log: keep it, give no other. */
  readonly dead: boolean;
  /** How many message ids from nextMid on may be the next one, as far as its former owner knew; 1: the id is known. */
  readonly possibleIds: number;
  /** It has answered a former owner. */
  readonly proven: boolean;
  /** The latest request of its headend's daemon that a former owner sent on. */
  readonly translated?: Translated | undefined;
  /** Wait before it is asked for the first time, ms, or SPREAD; undefined: as its policy says. See Machine.add. */
  readonly firstAskMs: number | undefined;
};

/** SAs that cannot be watched any more, because their data in Redis cannot be read. */
export type Abandoned = { readonly unreadable: readonly number[] };

/** What could not be taken from a page. */
export type LeftOut = Abandoned & {
  /** Number of keys that could be opened, and of those that could not. */
  readonly opened: number;
  readonly sealed: number;
};

/** An SA registered after the checkpoint was taken: probes sent to it since then are not known. */
const UNTOLD = { heardUnix: 0, outstanding: true, fresh: true, proven: false, uncertainty: 0 } as const;
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

  /** Takes SAs that their headend registers. An SA that cannot be taken is left out, and named; the API should have refused it. */
  register(page: SaPage, enter: (sa: ShardSa) => void): Abandoned {
    const unreadable: number[] = [];
    for (const cursor = new RecordCursor(page); cursor.next(); ) {
      const { row } = cursor;
      const message = cursor.hasKeys ? keysOf(page, row)! : undefined;
      let keys: SessionKeys | undefined;
      try {
        const sa = readWatchable(cursor);
        keys = message && readKeys(message, sa.headendIsInitiator);
        enter(joined(page, row, sa, keys, { nextMid: sa.nextMessageId, ...NEW }));
        if (keys) this.#keys.forget(page.handles[row]!);
      } catch {
        unreadable.push(page.handles[row]!);
      } finally {
        // The session table has its own copy.
        message?.fill(0);
        keys?.material.fill(0);
      }
    }
    return { unreadable };
  }

  /** Takes SAs of former owners, with sealed keys. An SA that cannot be read, or is out of range, is left out, and named. */
  resume(page: SaPage, enter: (sa: ShardSa) => void): LeftOut {
    const former = this.#former!;
    const unreadable: number[] = [];
    const tried = { opened: 0, sealed: 0 };
    for (const cursor = new RecordCursor(page); cursor.next(); ) {
      const { row } = cursor;
      const handle = page.handles[row]!;
      if (handle === NO_HANDLE) continue;
      try {
        const sa = readWatchable(cursor);
        const keys = cursor.hasKeys ? this.#keep(page, row, sa, tried) : undefined;
        enter(joined(page, row, sa, keys, resumed(sa, keys !== undefined, this.#rows.find(sa.spi), former)));
      } catch {
        unreadable.push(handle);
      }
    }
    return { unreadable, ...tried };
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

/** The SA at the cursor. Throws RangeError or Error if it is no valid SA, or cannot be watched. */
function readWatchable({ reader, saEnd }: RecordCursor): WatchedSa {
  const sa = readSa(reader, saEnd);
  checkWatchable(sa);
  return sa;
}

/** Facts about an SA that its message does not contain. */
type Known = Pick<
  ShardSa,
  'nextMid' | 'heardAgeMs' | 'possibleIds' | 'proven' | 'firstAskMs' | 'resumed' | 'translated'
>;

/** Of one that its headend registers. */
const NEW = { heardAgeMs: 0, possibleIds: 1, proven: false, firstAskMs: SPREAD } as const;

/** Of one as its former owner left it, for the new one. */
function resumed(
  { spi, policy, nextMessageId }: WatchedSa,
  keyed: boolean,
  known: FormerRow | undefined,
  { atUnix, ageMs, translated: requests }: FormerOwners,
): Known {
  const row = known ?? UNTOLD;
  const translated = requests.size > 0 ? requests.get(wordsHex(spi)) : undefined;
  const nextMid = known?.nextMid ?? nextMessageId;
  // Sent after the checkpoint.
  const later = translated !== undefined && translated.id >= nextMid;
  const evidenceAgeMs = known ? Math.max(0, atUnix + ageMs - known.heardUnix) : 0;
  return {
    nextMid: later ? translated.id : nextMid,
    // Evidence may have come that is in no checkpoint. On a path with canaries the peer counts as heard when the first of them
    // comes home: see Shard. Until then the old evidence shows whether a probe was due.
    heardAgeMs: keyed ? evidenceAgeMs : 0,
    // A request that was under way may have been answered; a peer that had not been probed may have been probed since.
    possibleIds: 1 + row.uncertainty + (row.outstanding || row.fresh || later ? 1 : 0),
    translated,
    proven: row.proven,
    resumed: true,
    // The peer is asked when it would have been, so that those taken over together are not asked together.
    firstAskMs: row.fresh ? SPREAD : Math.max(0, policy.intervalMs - evidenceAgeMs),
  };
}

function joined(
  { handles, sites, dead }: SaPage,
  row: number,
  { spi, ikev1, headendIsInitiator, address, port, policy, parked, local, ikePort, muteUntilUnixMs }: WatchedSa,
  keys: SessionInput['keys'],
  known: Known,
): ShardSa {
  if (keys && keys !== SEALED && isIkev1(keys) !== ikev1) throw new RangeError('keys of another IKE version');
  return {
    handle: handles[row]!,
    spi,
    ikev1,
    headendIsInitiator,
    address,
    port,
    keys,
    policy,
    site: sites[row]!,
    parked,
    local,
    ikePort,
    muteUntilUnixMs,
    dead: dead[row] === 1,
    ...known,
  };
}
