/**
 * Packets that leave by a device, from the kernel's packet sockets (packet(7)). These report incoming packets twice, as they
 * came and decrypted: so to see both directions, listen at both ends.
 */

import { nativeFunctions, nativeMemory } from '../../../workers/base/ffi.ts';
import type { Namespace } from './netns.ts';

const libc = nativeFunctions({
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  bind: { return: 'int32', arguments: ['int32', 'pointer', 'uint32'] },
  recvfrom: { return: 'int64', arguments: ['int32', 'pointer', 'uint64', 'int32', 'pointer', 'pointer'] },
  if_nametoindex: { return: 'uint32', arguments: ['string'] },
  close: { return: 'int32', arguments: ['int32'] },
})!;

const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const ETH_P_ALL = 0x0003;
const MSG_DONTWAIT = 0x40;
const LONGEST = 65_536;
/** struct sockaddr_ll: family, protocol in network order, index of the device, and of a packet whether it leaves. */
const Name = { LENGTH: 20, PROTOCOL: 2, DEVICE: 4, TYPE: 10 } as const;
const PACKET_OUTGOING = 4;
/** IP protocols. */
const HOP_BY_HOP = 0;
const UDP = 17;
const ESP = 50;
const ICMP_V6 = 58;
const IKE_PORT = 500;
const NAT_PORT = 4500;

type Packet = {
  /** How it travels; `clear`: neither ESP nor IKE. */
  readonly kind: 'esp' | 'esp in udp' | 'ike' | 'clear';
  /** Behind the IP header, or the UDP header if there is one. */
  readonly payload: Buffer;
};

export class Wire {
  readonly #fd: number;
  readonly #received = nativeMemory(LONGEST);
  readonly #name = nativeMemory(Name.LENGTH);
  readonly #nameLength = nativeMemory(Int32Array.BYTES_PER_ELEMENT);

  /** Listens from now on. */
  constructor(host: Namespace, device: string) {
    this.#fd = host.enter(() => {
      const fd = libc.socket(AF_PACKET, SOCK_DGRAM, 0);
      const { bytes, address } = this.#name;
      bytes.writeUInt16LE(AF_PACKET);
      bytes.writeUInt16BE(ETH_P_ALL, Name.PROTOCOL);
      bytes.writeInt32LE(libc.if_nametoindex(device), Name.DEVICE);
      if (libc.bind(fd, address, Name.LENGTH) !== 0) throw new Error(`cannot listen on ${device}`);
      return fd;
    });
  }

  /** IP packets since the last call, without IPv6's own control packets. */
  take(): Packet[] {
    const packets: Packet[] = [];
    for (;;) {
      const [at, name, nameLength] = [this.#received.address, this.#name.address, this.#nameLength];
      nameLength.bytes.writeInt32LE(Name.LENGTH);
      const length = Number(libc.recvfrom(this.#fd, at, BigInt(LONGEST), MSG_DONTWAIT, name, nameLength.address));
      if (length < 0) return packets;
      if (this.#name.bytes[Name.TYPE] !== PACKET_OUTGOING) continue;
      const packet = parse(Buffer.from(this.#received.bytes.subarray(0, length)));
      if (packet) packets.push(packet);
    }
  }

  close(): void {
    libc.close(this.#fd);
  }
}

function parse(bytes: Buffer): Packet | undefined {
  const version = bytes[0]! >> 4;
  if (version === 4) return packet(bytes[9]!, bytes.subarray((bytes[0]! & 0xf) * 4, bytes.readUInt16BE(2)));
  const body = bytes.subarray(40, 40 + bytes.readUInt16BE(4));
  return version !== 6 || isHousekeeping(bytes[6]!, body) ? undefined : packet(bytes[6]!, body);
}

/** Neighbour discovery, and group membership, which comes behind hop-by-hop options. */
function isHousekeeping(protocol: number, body: Buffer): boolean {
  return protocol === HOP_BY_HOP || (protocol === ICMP_V6 && body[0]! >= 133 && body[0]! <= 137);
}

function packet(protocol: number, body: Buffer): Packet {
  if (protocol !== UDP) return { kind: protocol === ESP ? 'esp' : 'clear', payload: body };
  const ports = [body.readUInt16BE(0), body.readUInt16BE(2)];
  const payload = body.subarray(8);
  const marked = payload.length >= 4 && payload.readUInt32BE() === 0;
  if (ports.includes(NAT_PORT)) return { kind: marked ? 'ike' : 'esp in udp', payload };
  return { kind: ports.includes(IKE_PORT) ? 'ike' : 'clear', payload };
}
