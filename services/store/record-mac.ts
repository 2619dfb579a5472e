/**
 * Message authentication codes of records in Redis, and of messages on the bus: whoever can write to Redis cannot make any. HMAC-SHA-256
 * under a key of the cluster's, over the record and the place where it belongs, so that no record can be moved elsewhere. An old record
 * put back at its own place is not noticed.
 */

import { hkdfSync } from 'node:crypto';
import { SettingsError } from '../../workers/base/errors.ts';
import { fastestHmac, HMAC_KEY_LENGTH } from '../../workers/crypto/hmac-sha256.ts';
import { MAC_CHECK } from './keys.ts';
import type { RedisClient } from './redis/redis.ts';

/** Bytes of a MAC: half of the HMAC, which RFC 2104 section 5 allows. */
export const MAC_LENGTH = 16;
/** Characters of the same in base64url. */
const TEXT_LENGTH = 22;
/** Longest record together with its place, bytes: more than a failover that was given up takes. */
const ROOM = 131_072;
/** HKDF's info (RFC 5869 section 3.2): the vault's keys serve for nothing else by this name. */
const INFO = 'dpd record mac';
const PLACE_ENDS = '\0';

/** What a MAC was made with. */
export type MadeWith = 'first key' | 'another key';

export class RecordMac {
  readonly #hmac = fastestHmac(ROOM);
  #keys: readonly Buffer[] = [];

  /** @param keys see {@link use} */
  constructor(keys: readonly Uint8Array[]) {
    this.use(keys);
  }

  /** Makes MACs with a key derived from the first of these from now on, and takes those of all. Throws RangeError. */
  use(keys: readonly Uint8Array[]): void {
    if (keys.length === 0) throw new RangeError('a MAC needs a key');
    this.#keys = keys.map((key) => Buffer.from(hkdfSync('sha256', key, '', INFO, HMAC_KEY_LENGTH)));
  }

  /** Whether there may be records whose MAC was made with another key than the first. */
  get rotating(): boolean {
    return this.#keys.length > 1;
  }

  /** Writes the MAC of a record, which is a part of `bytes`. Throws RangeError if it is too long. */
  write(place: string, bytes: Uint8Array, from: number, to: number, into: Buffer, at: number): void {
    this.#digest(this.#keys[0]!, this.#fill(place, bytes, from, to)).copy(into, at, 0, MAC_LENGTH);
  }

  /** What the MAC at `at` was made with; undefined if it is none of this record. */
  check(place: string, bytes: Uint8Array, from: number, to: number, mac: Uint8Array, at = 0): MadeWith | undefined {
    if (to - from > ROOM - Buffer.byteLength(place) - 1) return undefined;
    const length = this.#fill(place, bytes, from, to);
    const found = this.#keys.findIndex((key) => isSame(this.#digest(key, length), mac, at));
    return found < 0 ? undefined : found === 0 ? 'first key' : 'another key';
  }

  /** A record with its MAC before it. */
  seal(place: string, record: Uint8Array): Buffer {
    const sealed = Buffer.allocUnsafe(MAC_LENGTH + record.length);
    this.write(place, record, 0, record.length, sealed, 0);
    sealed.set(record, MAC_LENGTH);
    return sealed;
  }

  /** What a sealed record's MAC was made with; undefined if it is none. */
  madeWith(place: string, sealed: Buffer): MadeWith | undefined {
    return sealed.length < MAC_LENGTH ? undefined : this.check(place, sealed, MAC_LENGTH, sealed.length, sealed);
  }

  /** The record, as a view; undefined if none of the cluster's wrote it for this place. */
  open(place: string, sealed: Buffer): Buffer | undefined {
    return this.madeWith(place, sealed) && sealed.subarray(MAC_LENGTH);
  }

  /** A text with its MAC before it, as a text. */
  sealText(place: string, text: string): string {
    return `${this.seal(place, Buffer.from(text)).toString('base64url', 0, MAC_LENGTH)}${text}`;
  }

  /** The text; undefined if none of the cluster's wrote it for this place. */
  openText(place: string, sealed: string): string | undefined {
    const mac = Buffer.from(sealed.slice(0, TEXT_LENGTH), 'base64url');
    const text = sealed.slice(TEXT_LENGTH);
    return this.open(place, Buffer.concat([mac, Buffer.from(text)])) && text;
  }

  #fill(place: string, bytes: Uint8Array, from: number, to: number): number {
    const { text } = this.#hmac;
    const length = Buffer.byteLength(place) + PLACE_ENDS.length + to - from;
    if (length > ROOM) throw new RangeError(`record of ${to - from} bytes: ${ROOM} with its place at most`);
    const at = text.write(place + PLACE_ENDS);
    text.set(bytes.subarray(from, to), at);
    return length;
  }

  #digest(key: Buffer, length: number): Buffer {
    key.copy(this.#hmac.key);
    return this.#hmac.digest(length);
  }
}

/** Seals the records of one place for Redis, and opens them. */
export class RecordSeal {
  protected readonly mac: RecordMac;
  protected readonly place: string;

  constructor(mac: RecordMac, place: string) {
    this.mac = mac;
    this.place = place;
  }

  /** A record as Redis gets it. */
  seal(record: Uint8Array): Buffer {
    return this.mac.seal(this.place, record);
  }

  /** The record, as a view; undefined if none of the cluster's wrote it for this place. */
  open(sealed: Buffer): Buffer | undefined {
    return this.mac.open(this.place, sealed);
  }

  /** What its MAC was made with; undefined if it is none. */
  madeWith(sealed: Buffer): MadeWith | undefined {
    return this.mac.madeWith(this.place, sealed);
  }
}

/** In a time that does not depend on where they differ. */
function isSame(digest: Uint8Array, mac: Uint8Array, at: number): boolean {
  if (mac.length - at < MAC_LENGTH) return false;
  let difference = 0;
  for (let n = 0; n < MAC_LENGTH; n++) difference |= digest[n]! ^ mac[at + n]!;
  return difference === 0;
}

/**
 * Makes sure that this process's key is the one of the others. The first of them writes a record for the others to check.
 * @throws SettingsError if it is another
 */
export async function checkMac(mac: RecordMac, redis: RedisClient): Promise<void> {
  const own = mac.sealText(MAC_CHECK, '');
  await redis.setnx(MAC_CHECK, own);
  const record = (await redis.get(MAC_CHECK)) ?? own;
  if (mac.openText(MAC_CHECK, record) === undefined)
    throw new SettingsError(
      'cluster-key-file, or vault-key-file: not the key that records in this Redis are made with',
    );
  if (record !== own) await redis.set(MAC_CHECK, own);
}
