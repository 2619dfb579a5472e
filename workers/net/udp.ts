/** UDP sockets: no name look-up, no allocation per address, large kernel buffers. */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

/** Wanted of the kernel for each direction of a socket. */
export const UDP_BUFFER_BYTES = 4 * 1024 * 1024;

type Lookup = NonNullable<import('node:dgram').SocketOptions['lookup']>;

/** Addresses are dotted IPv4 already. */
const literal: Lookup = (address, _options, callback) => callback(null, address, 4);

/** Binds a socket. Rejects with the system's error if the address or port cannot be had. */
export async function bindUdp(address: string, port: number): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', lookup: literal });
  // With a look-up that answers at once, the socket may listen before bind() returns.
  const listening = once(socket, 'listening');
  socket.bind({ address, port, exclusive: true });
  await listening;
  socket.setRecvBufferSize(UDP_BUFFER_BYTES);
  socket.setSendBufferSize(UDP_BUFFER_BYTES);
  return socket;
}

const OCTETS = Array.from({ length: 256 }, (_, n) => String(n));

/** Dotted form of an IPv4 address held as a number. */
export function dotted(address: number): string {
  return `${OCTETS[address >>> 24]}.${OCTETS[(address >>> 16) & 255]}.${OCTETS[(address >>> 8) & 255]}.${OCTETS[address & 255]}`;
}
