/** Opening probe sockets, in the thread that uses them or for it. */

import { Address } from '../base/address.ts';
import { BatchProbeSocket } from './batch-probe-socket.ts';
import { DualProbeSocket } from './dual-probe-socket.ts';
import { NodeProbeSocket } from './node-probe-socket.ts';
import type { AnsweringSocket, OnDatagram, OnFailed, ProbePlace, ProbeSocket } from './probe-socket.ts';
import { openSocket } from './sockets.ts';
import { UDP_BUFFER_BYTES } from './udp.ts';
import { bypassPolicy } from './xfrm-bypass.ts';

/** Error codes of a system without IPv6: none at all, or not usable. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

function hasNoIpv6(error: unknown): boolean {
  return NO_IPV6.has((error as NodeJS.ErrnoException).code ?? '');
}

type Placed = { readonly place: ProbePlace; close(): void };

/**
 * Opens a socket for a thread, if that can be done here, to be closed when the thread has ended, however it ended.
 * Throws the system's error if the address or port cannot be had.
 * @param port 0: any
 */
export function placeProbeSocket(address: string, port: number): Placed {
  const at = Address.of(address);
  const opened = openSocket(at, port, UDP_BUFFER_BYTES);
  if (!opened) return { place: { address, port }, close() {} };
  // Needed on a hub only; elsewhere there are no IPsec policies.
  bypassPolicy(opened.fd, { ipv6: at.family === 6 });
  return { place: { address, port: opened.port, fd: opened.fd }, close: opened.close };
}

/**
 * As {@link placeProbeSocket}, with a socket for IPv6 beside it, on the same port, if the system has that.
 * @param address6 undefined: none
 */
export function placeProbeSockets(address: string, address6: string | undefined, port: number): Placed {
  const v4 = placeProbeSocket(address, port);
  if (address6 === undefined) return v4;
  try {
    const v6 = placeProbeSocket(address6, v4.place.port);
    const close = () => {
      v4.close();
      v6.close();
    };
    return { place: { ...v4.place, v6: v6.place }, close };
  } catch (error) {
    if (hasNoIpv6(error)) return v4;
    v4.close();
    throw error;
  }
}

/**
 * Uses a socket that was placed. Rejects with the system's error if it is not open yet and the port is not available.
 */
export async function useProbeSocket(
  { v6, ...v4 }: ProbePlace,
  onDatagram: OnDatagram,
  onFailed: OnFailed,
): Promise<ProbeSocket> {
  const first = await use(v4, onDatagram, onFailed);
  if (!v6) return first;
  try {
    return new DualProbeSocket(first, await use(v6, onDatagram, onFailed));
  } catch (error) {
    if (hasNoIpv6(error)) return first;
    first.close();
    throw error;
  }
}

/** Opens a socket in the thread that uses and closes it. Rejects with the system's error. @param port 0: any */
export async function bindProbeSocket(
  address: string,
  port: number,
  onDatagram: OnDatagram,
  onFailed: OnFailed,
): Promise<AnsweringSocket> {
  const { place, close } = placeProbeSocket(address, port);
  return use(place, onDatagram, onFailed, close);
}

/** @param close of who placed it, if it is to be closed with this use of it */
async function use(
  { address, port, fd }: ProbePlace,
  onDatagram: OnDatagram,
  onFailed: OnFailed,
  close?: () => void,
): Promise<AnsweringSocket> {
  if (fd === undefined) return NodeProbeSocket.bind(address, port, onDatagram, onFailed);
  const { family } = Address.of(address);
  return new BatchProbeSocket({ fd, port, family, close }, onDatagram, onFailed);
}
