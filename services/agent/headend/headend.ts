/** What an agent needs of the headend it stands beside: the seam between the cluster's protocol and a VPN daemon. */

import type { Outcome, Sa, Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';

/** What a data plane made of a verdict. */
export type Applied = {
  readonly outcome: Outcome;
  readonly detail: string;
  /** With FAILED_OVER: the SA that took over. */
  readonly successor?: { readonly initiatorSpi: bigint; readonly responderSpi: bigint } | undefined;
};

/** Where a shard probes from; an empty address: where the headend was told to expect it. */
export type ProbeSource = { readonly address: string; readonly port: number };

/** How a shard's probes leave; see Path in headend.proto. */
export type PathState = {
  readonly canaryAddress: string;
  readonly canaryPort: number;
  readonly guarded: boolean;
  readonly ready: boolean;
  readonly open: boolean;
};

/** What a data plane tells its agent. SAs carry everything the API asks for. */
export type AgentSide = {
  /**
   * An SA told with keys may be asked from now on. A data plane that starts again replaces those that it may have told of
   * before and that no shard holds now, as it does what is `lost`.
   */
  upsert(sa: Sa): void;
  remove(id: { initiatorSpi: bigint; responderSpi: bigint }): void;
  /** Every SA that stands has been told: what the cluster holds beyond them may go. */
  complete(): void;
  /** Traffic seen, by SPI pair in hex; `ageMs` since the newest of it. */
  evidence(heard: readonly string[], sent: readonly string[], ageMs: number): void;
  path(shard: number, path: PathState): void;
  vouch(shard: number, canary: number): void;
};

/** An SA as the node holds it: for a data plane that starts anew beside a node that went on. */
export type HeldSa = {
  readonly id: { readonly initiatorSpi: bigint; readonly responderSpi: bigint };
  /** Next message id, or undefined without keys. */
  readonly nextMessageId: number | undefined;
};

export interface DataPlane {
  /** Begins to tell `agent` of SAs and traffic. */
  start(agent: AgentSide): Promise<void>;
  /** A node has the shard and probes from there; called again after every reconnection, perhaps by another node. */
  connected(shard: number, probe: ProbeSource, held: readonly HeldSa[]): void;
  /** The node holds these SAs, durably, as last told. SPI pairs in hex. */
  held(spis: readonly string[]): void;
  /**
   * The cluster held these SAs with their keys and has lost them: nobody knows their next message ids. Each must be
   * replaced, as by rekeying; until then nobody watches it. SPI pairs in hex.
   */
  lost(spis: readonly string[]): void;
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
