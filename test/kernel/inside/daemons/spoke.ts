/** What the lab wants of a spoke's daemon. */

import type { Namespace } from '../netns.ts';
import type { Tunnel } from '../tunnel.ts';

export interface SpokeDaemon {
  /** Takes the connection's configuration. */
  load(tunnel: Tunnel): Promise<void>;
  /** Brings the tunnel up. Rejects if it does not come up. */
  initiate(): Promise<void>;
  /** Takes the tunnel down. */
  terminate(): Promise<void>;
  /** Makes a new IKE SA in the present one's place. */
  rekey(): Promise<void>;
  /** Kills it at once, without any message; the kernel's SAs stay. */
  kill(): Promise<void>;
}

/** Starts a daemon, and waits until it takes commands. @param directory for its files, its own */
export type StartSpoke = (host: Namespace, directory: string) => Promise<SpokeDaemon>;
