/** The UDP socket that a shard probes through. */

import type { Address } from '../base/address.ts';
import type { SENDS_IN_FLIGHT } from './send-buffers.ts';

export type ProbeSocket = {
  readonly port: number;
  /**
   * Sends a message; its buffer must not change for {@link SENDS_IN_FLIGHT} more sends. False if it cannot be sent now.
   */
  send(message: Buffer, address: Address, port: number, handle: number): boolean;
  /** Hands on what has arrived, if the socket does not do so by itself. Call every few ms. */
  receive(): void;
  close(): void;
};

/** A socket that a simulated spoke answers through. */
export type AnsweringSocket = ProbeSocket & {
  /** Sends a message to the sender of the datagram that is just being handed on. */
  answer(message: Buffer): boolean;
};

/** Who sent the datagram that is being handed on; good until the next one is. */
export type Sender = { readonly address: Address; readonly port: number };
/** Called with each datagram; its buffer belongs to the socket again afterwards. */
export type OnDatagram = (datagram: Buffer, sender: Sender) => void;
/** Told of a message that did not leave: the handle given with it, or -1 for an answer. */
export type OnFailed = (handle: number) => void;

/** A socket that was opened for a thread, or is yet to be opened by it. */
export type ProbePlace = {
  readonly address: string;
  readonly port: number;
  /** Of the open socket; undefined if the thread opens it. */
  readonly fd?: number;
  /** The same port for IPv6, if the system has IPv6. */
  readonly v6?: ProbePlace | undefined;
};
