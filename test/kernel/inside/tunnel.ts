/** The tunnel between the lab's hub and spoke, in words that are nobody's configuration yet. */

import type { HUB } from './network.ts';

/** A host's addresses. */
export type Place = typeof HUB;

export type Tunnel = {
  /** Of IP, outside and inside. */
  readonly version: 4 | 6;
  /** The tunnel's traffic: all between the hosts themselves, or between the networks behind them, or all traffic of the spoke. */
  readonly between: 'hosts' | 'sites' | 'spoke and all';
  /** ESP in UDP, as behind a NAT, or plain. */
  readonly encapsulated: boolean;
};

/** Name of the connection, and of its child; the namespaces begin with it. */
export const CONNECTION = 'lab';
export const HUB_ID = 'hub';
export const SPOKE_ID = 'spoke1';
export const SECRET = 'labsecret';
