/** The UDP socket that a shard probes through, or a simulated spoke answers through. */

import { addressOf } from '../base/address.ts';
import { BatchProbeSocket } from './batch-probe-socket.ts';
import { NodeProbeSocket } from './node-probe-socket.ts';
import type { SENDS_IN_FLIGHT } from './send-buffers.ts';
import { openSocket } from './sockets.ts';
import { UDP_BUFFER_BYTES } from './udp.ts';

export type ProbeSocket = {
  readonly port: number;
  /** Sends a message, which must stay as it is for {@link SENDS_IN_FLIGHT} more. False if it cannot be taken now. */
  send(message: Buffer, address: number, port: number, handle: number): boolean;
  /** Sends a message to whoever sent the datagram that is just being handed on. */
  answer(message: Buffer): boolean;
  /** Hands on what has arrived, if the socket does not do so by itself. Call every few ms. */
  receive(): void;
  close(): void;
};

/** What a socket does with a datagram, which is its own again afterwards. */
export type OnDatagram = (datagram: Buffer) => void;
/** Told of a message that did not leave: the handle given with it, or -1 for an answer. */
export type OnFailed = (handle: number) => void;

/** A socket that was opened for a thread, or is yet to be opened by it. */
export type ProbePlace = {
  readonly address: string;
  readonly port: number;
  /** Of the open socket; undefined if the thread opens it. */
  readonly fd?: number;
};

/**
 * Opens a socket for a thread, if that can be done here, to be closed when the thread has ended, however it ended.
 * Throws the system's error if the address or port cannot be had.
 * @param port 0: any
 */
export function placeProbeSocket(address: string, port: number): { readonly place: ProbePlace; close(): void } {
  const opened = openSocket(addressOf(address), port, UDP_BUFFER_BYTES);
  if (!opened) return { place: { address, port }, close() {} };
  return { place: { address, port: opened.port, fd: opened.fd }, close: opened.close };
}

/**
 * Uses a socket that was placed. Rejects with the system's error if it is not open yet and the port cannot be had.
 * @param close of who placed it, if it is to be closed with this use of it
 */
export async function useProbeSocket(
  { address, port, fd }: ProbePlace,
  onDatagram: OnDatagram,
  onFailed: OnFailed,
  close?: () => void,
): Promise<ProbeSocket> {
  if (fd === undefined) return NodeProbeSocket.bind(address, port, onDatagram, onFailed);
  return new BatchProbeSocket({ fd, port, close }, onDatagram, onFailed);
}

/** Opens a socket in the thread that uses and closes it. Rejects with the system's error. @param port 0: any */
export async function bindProbeSocket(
  address: string,
  port: number,
  onDatagram: OnDatagram,
  onFailed: OnFailed,
): Promise<ProbeSocket> {
  const { place, close } = placeProbeSocket(address, port);
  return useProbeSocket(place, onDatagram, onFailed, close);
}
