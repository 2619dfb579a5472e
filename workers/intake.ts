/**
 * SAs on their way into a shard: their messages read, their keys sealed and opened, and after a takeover what their former owner
 * knew of them.
 */

import type { CheckpointRow } from './checkpoint.ts';
import { FormerRows } from './former-rows.ts';
import { MAX_CANDIDATES } from './ike/liveness.ts';
import { SEALED, type SessionInput, type SessionKeys } from './ike/sessions.ts';
import { SPREAD } from './liveness/machine.ts';
import { leastSpacingMs, Mode, type Policy } from './liveness/policy.ts';
import type { FormerOwners, LeftOut } from './protocol.ts';
import { encodeKeys, type KeysPage, packKeys, unpackKeys } from './sa-keys.ts';
import { readKeys, readSa, type WatchedSa } from './sa-message.ts';
import { forEachRow, type PageRow, type SaPage } from './sa-page.ts';
import { SealedKeys } from './sealed-keys.ts';
import { type SpiWords, wordsHex } from './spi.ts';
import { placeOfKeys, type Vault } from './vault.ts';

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

/** Seals records, and opens them. */
export type KeyVault = Pick<Vault, 'seal' | 'open'>;

export class Intake {
  readonly #vault: KeyVault | undefined;
  #former: FormerOwners | undefined;
  #rows = new FormerRows([]);
  #headend = '';
  /** Keys were opened: this is the vault key that sealed them. */
  #proven = false;
  readonly #sealed = new SealedKeys();

  /** @param vault without one no SA taken over may have keys, and none are sealed */
  constructor(vault: KeyVault | undefined) {
    this.#vault = vault;
  }

  /** The takeover is over, and keys are left to open. */
  get hasSealed(): boolean {
    return !this.#former && !this.#sealed.empty;
  }

  /** A takeover begins, or is over. */
  takeOver(former: FormerOwners | undefined): void {
    this.#former = former;
    this.#rows = new FormerRows(former?.chunks ?? []);
    this.#headend = former?.headend ?? this.#headend;
  }

  /** Takes SAs that their headend registers. */
  register(page: SaPage, take: (sa: ShardSa) => void): void {
    forEachRow(page, (row) => {
      const sa = readSa(row.sa);
      const keys = row.keys && readKeys(row.keys, sa.headendIsInitiator);
      if (keys) this.forget(row.handle);
      take(joined(row, sa, keys, { nextMid: sa.nextMessageId, heardAgeMs: 0, candidates: 0, firstAskMs: SPREAD }));
    });
  }

  /** Takes SAs of former owners, their keys sealed. One that cannot be read is left out, and named. */
  resume(page: SaPage, take: (sa: ShardSa) => void): LeftOut {
    const leftOut: LeftOut = { handles: [], opened: 0, sealed: 0 };
    forEachRow(page, (row, n) => {
      try {
        const sa = readSa(row.sa);
        const keys = row.keys && (this.#proven ? SEALED : this.#prove(row.keys, sa, leftOut));
        take(resume(row, sa, keys, this.#rows.find(sa.spi), this.#former!));
        if (keys === SEALED) this.#sealed.add(row.handle, page, n);
      } catch {
        leftOut.handles.push(row.handle);
      }
    });
    return leftOut;
  }

  /** Opens keys that are still sealed. Throws if they cannot be read; they are forgotten in any case. */
  open(handle: number, spi: SpiWords, headendIsInitiator: boolean): SessionKeys {
    const keys = this.#sealed.take(handle);
    if (!keys) throw new RangeError(`no sealed keys at ${handle}`);
    return this.#read(keys, spi, headendIsInitiator);
  }

  /** The SA whose keys have been sealed for the longest; -1 if there is none. */
  longestSealed(): number {
    return this.#sealed.oldest();
  }

  /** The SA is gone, or has been given its keys. */
  forget(handle: number): void {
    this.#sealed.take(handle);
  }

  /** Seals keys that a headend registers. */
  seal(page: KeysPage): KeysPage {
    return packKeys(unpackKeys(page).map(({ spi, keys }) => ({ spi, keys: this.#sealFor(spi, keys) })));
  }

  /** Seals keys as the shard holds them. */
  sealHeld(spi: SpiWords, headendIsInitiator: boolean, keys: SessionKeys): Uint8Array {
    // A copy: what travels to another thread takes along the buffer that it lies in.
    return Uint8Array.from(this.#sealFor(spi, encodeKeys(keys, headendIsInitiator)));
  }

  /** Opens keys to see that they can be opened at all. */
  #prove(keys: Uint8Array, { spi, headendIsInitiator }: WatchedSa, leftOut: LeftOut): SessionKeys {
    try {
      const read = this.#read(keys, spi, headendIsInitiator);
      this.#proven = true;
      leftOut.opened++;
      return read;
    } catch (error) {
      leftOut.sealed++;
      throw error;
    }
  }

  #sealFor(spi: SpiWords, keys: Uint8Array): Uint8Array {
    return this.#vault!.seal(keys, this.#placeOf(spi));
  }

  #placeOf(spi: SpiWords): string {
    return placeOfKeys(this.#headend, wordsHex(spi));
  }

  #read(sealed: Uint8Array, spi: SpiWords, headendIsInitiator: boolean): SessionKeys {
    return readKeys(this.#vault!.open(sealed, this.#placeOf(spi)), headendIsInitiator);
  }
}

/** An SA as its former owner left it, for the new one. */
function resume(
  row: PageRow,
  sa: WatchedSa,
  keys: SessionInput['keys'],
  known: Omit<CheckpointRow, 'spi'> | undefined,
  former: FormerOwners,
): ShardSa {
  const { policy } = sa;
  const candidates = candidateIds(known ?? UNTOLD, former, policy);
  const ageMs = known ? Math.max(0, former.atUnix - known.heardUnix) : 0;
  // Ids that cannot be found again would make a living peer look dead: better not watched than killed.
  const lost = keys !== undefined && candidates > MAX_CANDIDATES;
  return joined(row, lost ? { ...sa, policy: { ...policy, mode: Mode.DISABLED } } : sa, keys, {
    nextMid: known?.nextMid ?? sa.nextMessageId,
    // Evidence may have come that no checkpoint tells of: unless the former owner had stopped, it counts as come now.
    heardAgeMs: known && former.final ? ageMs : 0,
    candidates: lost ? 0 : candidates,
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
