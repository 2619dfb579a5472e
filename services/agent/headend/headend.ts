/** What an agent needs from its headend: the seam between the cluster's protocol and a VPN daemon. */

import type { Path, Way } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Outcome, Policy, Sa, Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';

/** What a headend did about a verdict. */
export type Applied = {
  readonly outcome: Outcome;
  readonly detail: string;
  /** With FAILED_OVER: the SA that took over. */
  readonly successor?: { readonly initiatorSpi: bigint; readonly responderSpi: bigint } | undefined;
};

/** Where a shard probes from; an empty address: as the headend was configured. */
export type ProbeSource = { readonly address: string; readonly address6: string; readonly port: number };

/** How a shard's probes leave; see Path in headend.proto. */
export type PathState = Pick<Path, 'guarded' | 'ready' | 'returning'> & {
  /** Where canaries go, if there is one way only. */
  readonly canaryAddress?: string;
  readonly canaryPort?: number;
  readonly ways?: readonly Pick<Way, 'localAddress' | 'localPort' | 'index' | 'canaryAddress' | 'canaryPort'>[];
};

/** An SA that cannot be watched. */
export type LeftOutSa = {
  readonly id: { readonly initiatorSpi: bigint; readonly responderSpi: bigint };
  readonly peerId: string;
  readonly why: string;
};

/** What a headend reports to its agent. SAs have everything that the API needs. */
export type AgentSide = {
  /**
   * An SA that is up, or its change. Returns why it cannot be registered with the cluster, or undefined.
   * @param keysAtNode it comes without keys, as the node holds them
   */
  upsert(sa: Sa, keysAtNode?: boolean): string | undefined;
  remove(id: { initiatorSpi: bigint; responderSpi: bigint }): void;
  /** Every SA that is up has been reported: other SAs that the cluster holds may be removed. */
  complete(): void;
  /** Traffic seen, by SPI pair in hex; `ageMs` since the newest of it. */
  evidence(heard: readonly string[], sent: readonly string[], ageMs: number): void;
  path(shard: number, path: PathState): void;
  /** All SAs that are up but not registered, and why. */
  leftOut(sas: readonly LeftOutSa[]): void;
  vouch(shard: number, canary: number): void;
};

/** An SA as the node holds it: for a headend that starts anew beside a node that went on. */
export type HeldSa = {
  readonly id: { readonly initiatorSpi: bigint; readonly responderSpi: bigint };
  /** Next message id, or undefined without keys. */
  readonly nextMessageId: number | undefined;
  /** It was registered as parked: the daemon's own counter is far ahead. */
  readonly parked: boolean;
};

export interface Headend {
  /** Begins to report SAs and traffic to `agent`. */
  start(agent: AgentSide): Promise<void>;
  /**
   * A node has the shard and probes from there; called again after every reconnection, perhaps by another node.
   * @param common the policy that the cluster gives to all headends, if it gives one
   */
  connected(shard: number, probe: ProbeSource, held: readonly HeldSa[], common?: Policy): void;
  /** The node holds these SAs durably, as last registered. SPI pairs in hex. */
  held(spis: readonly string[]): void;
  /** These SAs were registered without keys, and the node has none: they are not watched until they are registered with keys. In hex. */
  keysWanted(spis: readonly string[]): void;
  /** The node has given up an SA that was removed; `nextMessageId` is the first id that the node never used, undefined without keys. */
  released(spi: string, nextMessageId: number | undefined): void;
  /** The stream of the shard broke. */
  disconnected(shard: number): void;
  /**
   * Deletes exactly the SA that the verdict names and, if asked to, brings up the next endpoint; from the second attempt
   * on the SA is deleted already. Must not throw.
   */
  apply(verdict: Verdict): Promise<Applied>;
  /** Runs a liveness exchange for an SA without keys at the node. True if the peer answered. */
  probe(sa: Sa): Promise<boolean>;
  stop(): Promise<void>;
}
