/** Addresses by handle: four bytes for an IPv4 address, a record of their own for the others. */

import { Address, type Family } from './address.ts';
import { copy } from './bytes.ts';
import { widen } from './columns.ts';
import { Slab } from './slab.ts';

const BYTES = 16;

export class AddressColumn {
  /** IPv4 address, or place of the record. */
  #word = new Uint32Array(0);
  /** 0: none. */
  #family = new Uint8Array(0);
  readonly #records = new Slab(BYTES);
  readonly #address = new Address();

  /** Makes room for handles below `capacity`. */
  grow(capacity: number): void {
    this.#word = widen(new Uint32Array(capacity), this.#word);
    this.#family = widen(new Uint8Array(capacity), this.#family);
  }

  /** The address at a handle; valid until the next call. */
  get(handle: number): Address {
    const address = this.#address;
    const word = this.#word[handle]!;
    if (this.#family[handle] === 6) {
      address.family = 6;
      copy(this.#records.block(word), this.#records.offset(word), address.bytes, 0, BYTES);
    } else address.v4 = word;
    return address;
  }

  /** Whether this is the address at a handle. */
  is(handle: number, address: Address): boolean {
    if (this.#family[handle] !== address.family) return false;
    return address.family === 4 ? this.#word[handle] === address.v4 : this.get(handle).bytes.equals(address.bytes);
  }

  set(handle: number, address: Address): void {
    if (this.#family[handle] !== address.family) {
      this.drop(handle);
      this.#family[handle] = address.family;
      if (address.family === 6) this.#word[handle] = this.#records.allocate();
    }
    const word = this.#word[handle]!;
    if (address.family === 4) this.#word[handle] = address.v4;
    else copy(address.bytes, 0, this.#records.block(word), this.#records.offset(word), BYTES);
  }

  /** The handle is free. */
  drop(handle: number): void {
    if (this.#family[handle] === (6 satisfies Family)) this.#records.drop(this.#word[handle]!);
    this.#family[handle] = 0;
  }
}
