/**
 * Keys of a shard's SAs between Redis, where they are sealed, and the session table. After a takeover they stay sealed until a
 * peer is first probed or the thread has time.
 */

import { type SpiWords, wordsHex } from '../base/spi.ts';
import { SEALED, SessionFlag, type SessionKeys, type SessionTable } from '../ikev2/sessions.ts';
import { readKeys } from '../sa/sa-message.ts';
import type { SaPage } from '../sa/sa-page.ts';
import { encodeKeys, type KeysPage, packKeys, unpackKeys } from './keys-page.ts';
import { SealedKeys } from './sealed-keys.ts';
import { placeOfKeys, type Vault } from './vault.ts';

/** Seals records, and opens them. */
export type KeyVault = Pick<Vault, 'seal' | 'open'>;

/** Keys opened at a tick, of peers that have not been asked yet. */
const OPENED_PER_TICK = 16;

export class KeyKeeper {
  readonly #sessions: SessionTable;
  readonly #vault: KeyVault | undefined;
  readonly #sealed = new SealedKeys();
  #headend = '';
  #filling = false;
  #unreadable: number[] = [];

  /** @param vault without one keys can neither be sealed nor opened */
  constructor(sessions: SessionTable, vault: KeyVault | undefined) {
    this.#sessions = sessions;
    this.#vault = vault;
  }

  /** SAs of this headend are taken over, or, if undefined, all have been. */
  takeOver(headend: string | undefined): void {
    this.#filling = headend !== undefined;
    this.#headend = headend ?? this.#headend;
  }

  /** There are sealed keys left, and there is time to open some. */
  get hasSealed(): boolean {
    return !this.#filling && !this.#sealed.empty;
  }

  /** Reads sealed keys. Throws if they cannot be opened, or are none. */
  read(sealed: Uint8Array, spi: SpiWords, headendIsInitiator: boolean): SessionKeys {
    const message = this.#vault!.open(sealed, this.#placeOf(spi));
    try {
      return readKeys(message, headendIsInitiator);
    } finally {
      message.fill(0);
    }
  }

  /** Keeps the sealed keys in a row of a page for the SA at this handle. */
  keep(handle: number, page: SaPage, row: number): typeof SEALED {
    this.#sealed.add(handle, page, row);
    return SEALED;
  }

  /** The SA is gone, or has been given its keys. */
  forget(handle: number): void {
    this.#sealed.remove(handle);
  }

  /** Opens an SA's keys if they are still sealed. False if they cannot be read; {@link drainUnreadable} then returns the SA. */
  opened(handle: number): boolean {
    const sessions = this.#sessions;
    if (!sessions.is(handle, SessionFlag.SEALED)) return true;
    const sealed = this.#sealed.remove(handle);
    try {
      const initiator = sessions.is(handle, SessionFlag.INITIATOR);
      const keys = this.read(sealed!, sessions.spi(handle), initiator);
      sessions.setKeys(handle, keys);
      keys.material.fill(0);
      return true;
    } catch {
      this.#unreadable.push(handle);
      return false;
    }
  }

  /** Opens some of those that have waited for the longest. */
  openSome(): void {
    for (let n = 0; n < OPENED_PER_TICK && this.hasSealed; n++) {
      const handle = this.#sealed.oldest();
      this.opened(handle);
      this.forget(handle);
    }
  }

  /** Handles whose keys could not be read, once. */
  drainUnreadable(): number[] {
    const handles = this.#unreadable;
    if (handles.length > 0) this.#unreadable = [];
    return handles;
  }

  /** Seals keys that a headend registers, and wipes them from the page. */
  seal(page: KeysPage): KeysPage {
    try {
      return packKeys(unpackKeys(page).map(({ spi, keys }) => ({ spi, keys: this.#seal(spi, keys) })));
    } finally {
      page.bytes.fill(0);
    }
  }

  /** Seals the keys of an SA that the shard holds; undefined if it has none, or none that can be read. */
  sealHeld(handle: number): Uint8Array | undefined {
    const sessions = this.#sessions;
    const keys = this.opened(handle) ? sessions.exportKeys(handle) : undefined;
    if (!keys) return undefined;
    const message = encodeKeys(keys, sessions.is(handle, SessionFlag.INITIATOR));
    try {
      // A copy, because posting it to another thread transfers its whole buffer.
      return Uint8Array.from(this.#seal(sessions.spi(handle), message));
    } finally {
      message.fill(0);
      keys.material.fill(0);
    }
  }

  #seal(spi: SpiWords, keys: Uint8Array): Uint8Array {
    return this.#vault!.seal(keys, this.#placeOf(spi));
  }

  #placeOf(spi: SpiWords): string {
    return placeOfKeys(this.#headend, wordsHex(spi));
  }
}
