/** Datagrams side by side in memory, for one system call that sends or receives many (sendmmsg(2), recvmmsg(2)). */

import { Address, type Family } from '../base/address.ts';
import { nativeFunctions, nativeMemory, partOf } from '../base/ffi.ts';
import { errno, readSockAddr, readSockPort, SockAddr, writeSockAddr } from './sockets.ts';

const libc = nativeFunctions({
  sendmmsg: { return: 'int32', arguments: ['int32', 'pointer', 'uint32', 'int32'] },
  recvmmsg: { return: 'int32', arguments: ['int32', 'pointer', 'uint32', 'int32', 'pointer'] },
});

/** struct mmsghdr: a msghdr (name, its length, iovec, their number, control, its length, flags), and what was done. */
const Header = { LENGTH: 64, NAME: 0, NAME_LENGTH: 8, IOVEC: 16, IOVECS: 24, DONE: 56 } as const;
/** struct iovec: address and length. */
const Vector = { LENGTH: 16, BASE: 0, SIZE: 8 } as const;
const MSG_DONTWAIT = 0x40;
const EINTR = 4;
const EAGAIN = 11;
const ENOBUFS = 105;

/** What became of a batch that was to be sent. */
export const BUSY = -1;
const REFUSED = -2;

export class Datagrams {
  /** One after the other, each with room for `room` bytes. */
  readonly bytes: Buffer;
  readonly room: number;
  readonly #family: Family;
  /** Length of an address's structure, bytes. */
  readonly #nameLength: number;
  readonly #names: Buffer;
  readonly #vectors: Buffer;
  readonly #headers: Buffer;
  readonly #sender = new Address();
  readonly #views: Buffer[] = [];
  /** Address of each of them. */
  readonly #at: readonly bigint[];

  /** @param room for each, bytes; @param family of all addresses, as of the socket */
  constructor(count: number, room: number, family: Family = 4) {
    this.room = room;
    this.#family = family;
    const nameLength = SockAddr[family].LENGTH;
    this.#nameLength = nameLength;
    const bytes = nativeMemory(count * room);
    const names = nativeMemory(count * nameLength);
    const vectors = nativeMemory(count * Vector.LENGTH);
    const headers = nativeMemory(count * Header.LENGTH);
    for (let n = 0; n < count; n++) {
      vectors.bytes.writeBigUInt64LE(partOf(bytes, n * room).address, n * Vector.LENGTH + Vector.BASE);
      vectors.bytes.writeBigUInt64LE(BigInt(room), n * Vector.LENGTH + Vector.SIZE);
      const header = n * Header.LENGTH;
      headers.bytes.writeBigUInt64LE(partOf(names, n * nameLength).address, header + Header.NAME);
      headers.bytes.writeUInt32LE(nameLength, header + Header.NAME_LENGTH);
      headers.bytes.writeBigUInt64LE(partOf(vectors, n * Vector.LENGTH).address, header + Header.IOVEC);
      headers.bytes.writeBigUInt64LE(1n, header + Header.IOVECS);
    }
    this.bytes = bytes.bytes;
    this.#names = names.bytes;
    this.#vectors = vectors.bytes;
    this.#headers = headers.bytes;
    this.#at = Array.from({ length: count }, (_, n) => partOf(headers, n * Header.LENGTH).address);
  }

  get count(): number {
    return this.#at.length;
  }

  /** The n-th as it was received, in place. */
  received(n: number): Buffer {
    const length = this.#headers.readUInt32LE(n * Header.LENGTH + Header.DONE);
    let view = this.#views[n];
    if (view?.length !== length) {
      view = this.bytes.subarray(n * this.room, n * this.room + length);
      this.#views[n] = view;
    }
    return view;
  }

  /** Address that the n-th came from; valid until the next call. */
  sender(n: number): Address {
    readSockAddr(this.#names, n * this.#nameLength, this.#family, this.#sender);
    return this.#sender;
  }

  senderPort(n: number): number {
    return readSockPort(this.#names, n * this.#nameLength);
  }

  /** Sets the length of the n-th and its target. */
  address(n: number, length: number, address: Address, port: number): void {
    this.#vectors.writeUInt32LE(length, n * Vector.LENGTH + Vector.SIZE);
    writeSockAddr(this.#names, n * this.#nameLength, address, port);
  }

  /** Sets the length of the n-th; its target is the sender of another datagram. */
  addressAs(n: number, length: number, other: Datagrams, from: number): void {
    this.#vectors.writeUInt32LE(length, n * Vector.LENGTH + Vector.SIZE);
    other.#names.copy(this.#names, n * this.#nameLength, from * this.#nameLength, (from + 1) * this.#nameLength);
  }

  /**
   * Sends those from `first` on, before `end`. Returns how many left; BUSY if the kernel takes none now; REFUSED if it refuses the
   * first.
   */
  send(fd: number, first: number, end: number): number {
    for (;;) {
      const sent = libc!.sendmmsg(fd, this.#at[first]!, end - first, MSG_DONTWAIT);
      if (sent > 0) return sent;
      const error = errno![0];
      if (error !== EINTR) return error === EAGAIN || error === ENOBUFS ? BUSY : REFUSED;
    }
  }

  /** Takes what has arrived. Returns how many. */
  receive(fd: number): number {
    return Math.max(0, libc!.recvmmsg(fd, this.#at[0]!, this.count, MSG_DONTWAIT, 0n));
  }
}
