/** The main thread's data of a shard's SAs: encoded messages and sites by handle; handles by SPI; the hash of the set. */

import { fromBinary } from '@bufbuild/protobuf';
import { type Sa, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { roomFor, widen } from '../../../workers/base/columns.ts';
import { SpiIndex, setSpi, spiAt, spiPairs } from '../../../workers/base/spi-index.ts';
import type { MessageReader } from '../../../workers/sa/message-reader.ts';
import { SetHash } from '../../api/reconcile.ts';
import { isSpiHex, type SpiPair, type SpiWords, spiFromHex, spiWords, wordsHex } from '../../api/spi.ts';
import { SaStore } from './sa-store.ts';

export class ShardRecords {
  /** Order-free hash of what is held. */
  readonly set = new SetHash();
  #spi = spiPairs(0);
  #revision = new Uint32Array(0);
  #site = new Uint16Array(0);
  readonly #sas = new SaStore();
  /** Number of an SA's message in the store; 0 if the handle is free. */
  #encoded = new Uint32Array(0);
  /** Handles ever given. */
  #given = 0;
  readonly #index = new SpiIndex();
  readonly #free: number[] = [];

  /** Handle of an SA, or -1. */
  find(id: SpiPair): number {
    return this.#index.find(this.#spi, ...spiWords(id));
  }

  /** Handle of an SA by its SPI pair in hex, or -1, also if the text is no pair. */
  findHex(spi: string): number {
    return isSpiHex(spi) ? this.find(spiFromHex(spi)) : -1;
  }

  /** SPI pair of a handle in use, in hex. */
  spi(handle: number): string {
    return wordsHex(this.words(handle));
  }

  /** Whether the handle is in use. */
  has(handle: number): boolean {
    return (this.#encoded[handle] ?? 0) !== 0;
  }

  /** The SA's message without keys, or undefined if the handle is free: a copy. */
  encoded(handle: number): Buffer | undefined {
    return this.has(handle) ? this.#sas.get(this.#encoded[handle]!, this.words(handle)) : undefined;
  }

  /** Writes that message where there is room for {@link LONGEST_SA}. Returns its length, bytes; 0 if the handle is free. */
  copyEncoded(handle: number, message: Buffer): number {
    return this.has(handle) ? this.#sas.read(this.#encoded[handle]!, this.words(handle), message) : 0;
  }

  /**
   * Enters an SA or replaces its record. Returns its handle.
   * @param site number of its site label
   * @param reader stands at its message without keys, which ends at `end`
   */
  put(words: SpiWords, revision: number, site: number, reader: MessageReader, end = reader.len): number {
    let handle = this.#index.find(this.#spi, ...words);
    if (handle < 0) {
      handle = this.#free.pop() ?? this.#given++;
      if (handle >= this.#revision.length) this.#grow(handle + 1);
      setSpi(this.#spi, handle, words);
      this.#index.add(this.#spi, handle);
    } else {
      this.set.remove(words, this.#revision[handle]!);
      this.#sas.drop(this.#encoded[handle]!);
    }
    this.#encoded[handle] = this.#sas.put(reader, end);
    this.#revision[handle] = revision;
    this.#site[handle] = site;
    this.set.add(words, revision);
    return handle;
  }

  /** Whether there is room for the policies of these SAs, which are within limits; at most 32,767 different ones. */
  takesPolicies(sas: readonly Sa[]): boolean {
    return this.#sas.takesPolicies(sas.map(({ policy }) => policy!));
  }

  /** Forgets an SA; its handle may be given to another. */
  remove(handle: number): void {
    this.set.remove(this.words(handle), this.#revision[handle]!);
    this.#index.remove(this.#spi, handle);
    this.#sas.drop(this.#encoded[handle]!);
    this.#encoded[handle] = 0;
    this.#free.push(handle);
  }

  /** The SA's message without keys, or undefined if the handle is free. */
  get(handle: number): Sa | undefined {
    const encoded = this.encoded(handle);
    return encoded && fromBinary(SaSchema, encoded);
  }

  revision(handle: number): number {
    return this.#revision[handle]!;
  }

  /** Number of its site label. */
  site(handle: number): number {
    return this.#site[handle]!;
  }

  /** Handles in use, from `first` on. */
  *handles(first = 0): Generator<number> {
    for (let handle = first; handle < this.#given; handle++) if (this.#encoded[handle] !== 0) yield handle;
  }

  /** Handles of a peer's SAs. */
  handlesOf(peerId: string): number[] {
    return [...this.#containing(Buffer.from(peerId))].filter((handle) => this.get(handle)!.peerId === peerId);
  }

  /** Handles of SAs whose message contains these bytes; a cheap first cut for a search. */
  *#containing(bytes: Buffer): Generator<number> {
    for (const handle of this.handles()) if (this.#sas.contains(this.#encoded[handle]!, bytes)) yield handle;
  }

  /** SPIs of a handle in use. */
  words(handle: number): SpiWords {
    return spiAt(this.#spi, handle);
  }

  #grow(needed: number): void {
    const capacity = roomFor(needed, this.#revision.length);
    this.#spi = spiPairs(capacity, this.#spi);
    this.#revision = widen(new Uint32Array(capacity), this.#revision);
    this.#site = widen(new Uint16Array(capacity), this.#site);
    this.#encoded = widen(new Uint32Array(capacity), this.#encoded);
  }
}
