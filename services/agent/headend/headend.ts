/** What an agent needs of the headend it stands beside: the seam between the cluster's protocol and a VPN daemon. */

import type { Path, Way } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Outcome, Sa, Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';

/** What a headend made of a verdict. */
export type Applied = {
  readonly outcome: Outcome;
  readonly detail: string;
  /** With FAILED_OVER: the SA that took over. */
  readonly successor?: { readonly initiatorSpi: bigint; readonly responderSpi: bigint } | undefined;
};

/** Where a shard probes from; an empty address: where the headend was told to expect it. */
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

/** What a headend tells its agent. SAs carry everything the API asks for. */
export type AgentSide = {
  /**
   * An SA that stands, or its change. Returns why the cluster cannot be told of it, or undefined.
   * @param keysAtNode it comes without keys, as the node holds them
   */
  upsert(sa: Sa, keysAtNode?: boolean): string | undefined;
  remove(id: { initiatorSpi: bigint; responderSpi: bigint }): void;
  /** Every SA that stands has been told: what the cluster holds beyond them may go. */
  complete(): void;
  /** Traffic seen, by SPI pair in hex; `ageMs` since the newest of it. */
  evidence(heard: readonly string[], sent: readonly string[], ageMs: number): void;
  path(shard: number, path: PathState): void;
  /** All SAs that stand and are not told, and why. */
  leftOut(sas: readonly LeftOutSa[]): void;
  vouch(shard: number, canary: number): void;
};

/** An SA as the node holds it: for a headend that starts anew beside a node that went on. */
export type HeldSa = {
  readonly id: { readonly initiatorSpi: bigint; readonly responderSpi: bigint };
  /** Next message id, or undefined without keys. */
  readonly nextMessageId: number | undefined;
  /** It was told as one on which the daemon's own counter is far ahead. */
  readonly parked: boolean;
};

export interface Headend {
  /** Begins to tell `agent` of SAs and traffic. */
  start(agent: AgentSide): Promise<void>;
  /** A node has the shard and probes from there; called again after every reconnection, perhaps by another node. */
  connected(shard: number, probe: ProbeSource, held: readonly HeldSa[]): void;
  /** The node holds these SAs, durably, as last told. SPI pairs in hex. */
  held(spis: readonly string[]): void;
  /** These SAs were told without keys, and the node has none: they are not watched until they are told with keys. In hex. */
  keysWanted(spis: readonly string[]): void;
  /** The node has let an SA go that was removed; `nextMessageId` is the first id it never used, undefined without keys. */
  released(spi: string, nextMessageId: number | undefined): void;
  /** The stream of the shard broke. */
  disconnected(shard: number): void;
  /**
   * Deletes exactly the SA that the verdict names and, if asked to, brings up the next endpoint; from the second attempt
   * on the SA is gone already. Must not throw.
   */
  apply(verdict: Verdict): Promise<Applied>;
  /** Runs a liveness exchange for an SA without keys at the node. True if the peer answered. */
  probe(sa: Sa): Promise<boolean>;
  stop(): Promise<void>;
}
