/** UDP sockets of IPv4 or IPv6 by number, opened in a namespace, so that options can be set that Node has no name for. Nothing blocks. */

import { Address, FAMILY_NUMBER } from '../../../workers/base/address.ts';
import { nativeFunctions, nativeMemory } from '../../../workers/base/ffi.ts';
import { bypassPolicy } from '../../../workers/net/xfrm-bypass.ts';
import { eventually } from '../../eventually.ts';
import type { Namespace } from './netns.ts';

const libc = nativeFunctions({
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  bind: { return: 'int32', arguments: ['int32', 'pointer', 'uint32'] },
  sendto: { return: 'int64', arguments: ['int32', 'pointer', 'uint64', 'int32', 'pointer', 'uint32'] },
  recv: { return: 'int64', arguments: ['int32', 'pointer', 'uint64', 'int32'] },
  close: { return: 'int32', arguments: ['int32'] },
})!;

const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;
const LONGEST = 2_048;
/** How long a datagram may take: the processor is emulated. */
const ARRIVAL_MS = 10_000;

export class DatagramSocket {
  readonly #fd: number;
  readonly #ipv6: boolean;
  readonly #received = nativeMemory(LONGEST);

  /** Opens it, bound to an address of the namespace. Throws if it cannot be had. */
  constructor(host: Namespace, address: string, port: number) {
    const name = socketAddress(address, port);
    this.#ipv6 = Address.of(address).family === 6;
    this.#fd = host.enter(() => libc.socket(FAMILY_NUMBER[this.#ipv6 ? 6 : 4], SOCK_DGRAM, 0));
    if (libc.bind(this.#fd, name.address, name.bytes.length) !== 0) throw new Error(`cannot bind ${address} ${port}`);
  }

  /** IPsec leaves the socket alone from now on. Throws if the kernel says no. */
  bypass(): this {
    if (!bypassPolicy(this.#fd, { ipv6: this.#ipv6 })) throw new Error('the kernel refused the policy');
    return this;
  }

  /** Throws if the kernel does not take it. */
  send(message: Buffer, address: string, port: number): void {
    const { bytes, address: at } = nativeMemory(message.length);
    bytes.set(message);
    const to = socketAddress(address, port);
    const sent = libc.sendto(this.#fd, at, BigInt(bytes.length), MSG_DONTWAIT, to.address, to.bytes.length);
    if (sent !== BigInt(message.length)) throw new Error(`not sent to ${address} ${port}`);
  }

  /** A datagram that has arrived, or undefined. */
  take(): Buffer | undefined {
    const length = Number(libc.recv(this.#fd, this.#received.address, BigInt(LONGEST), MSG_DONTWAIT));
    return length < 0 ? undefined : Buffer.from(this.#received.bytes.subarray(0, length));
  }

  /** The next datagram. Rejects if none arrives. */
  async next(): Promise<Buffer> {
    let datagram: Buffer | undefined;
    await eventually('a datagram arrives', ARRIVAL_MS, () => {
      datagram = this.take();
      return datagram !== undefined;
    });
    return datagram!;
  }

  close(): void {
    libc.close(this.#fd);
  }
}

/** struct sockaddr_in or sockaddr_in6. */
function socketAddress(text: string, port: number) {
  const { family, bytes } = Address.of(text);
  const memory = nativeMemory(family === 4 ? 16 : 28);
  memory.bytes.writeUInt16LE(FAMILY_NUMBER[family]);
  memory.bytes.writeUInt16BE(port, 2);
  if (family === 4) bytes.copy(memory.bytes, 4, 12);
  else bytes.copy(memory.bytes, 8);
  return memory;
}
