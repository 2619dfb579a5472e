/**
 * What the main thread and a shard's thread say to each other. Times: *AtMs and atMs on the clock that all threads share,
 * other *Ms a duration or an age, *Unix wall, ms.
 */

import type { KeysPage } from '../keys/keys-page.ts';
import type { Ownership } from '../liveness/interlock.ts';
import type { ProbePlace } from '../net/open-probe-socket.ts';
import type { SaPage } from '../sa/sa-page.ts';

/** What former owners left of a shard, for the thread that takes up their SAs. */
export type FormerOwners = {
  readonly headend: string;
  /** Chunks of their checkpoint, in any order. */
  readonly chunks: readonly { readonly epoch: number; readonly bytes: Uint8Array }[];
  /** Up to when it tells everything, by the owner's clock, Unix ms. */
  readonly atUnix: number;
  /** For how long after that an owner may have gone on at most, by Redis's clock, ms; but for `leaseMs`. */
  readonly ageMs: number;
  /** The last owner had stopped before. */
  readonly final: boolean;
  /** How long an owner may go on unknown to others, ms. */
  readonly leaseMs: number;
};

/** SAs that cannot be watched. */
export type Abandoned = {
  /** What Redis has of them cannot be read. */
  readonly unreadable: readonly number[];
  /** Their next message id may be any of too many: asked with a wrong one, a living peer would look dead. */
  readonly lost: readonly number[];
};

/** What could not be taken up of a page. */
export type LeftOut = Abandoned & {
  /** Keys that could be opened, and that could not. */
  readonly opened: number;
  readonly sealed: number;
};

/** How probes leave (see the Path message of the API). */
export type ShardPath = {
  /** IPv4 address as a number, and port. */
  readonly canaryAddress: number;
  readonly canaryPort: number;
  readonly guarded: boolean;
  readonly ready: boolean;
  /** Nothing steers: while the shard is surely this node's, no voucher is needed. */
  readonly open: boolean;
};

export type ToShard =
  /** SAs as their headend registers them, keys open. */
  | { readonly type: 'upsert'; readonly page: SaPage }
  /** SAs of former owners follow; without any, that was all. */
  | { readonly type: 'takeOver'; readonly former: FormerOwners | undefined }
  /** SAs of former owners, keys sealed. */
  | { readonly type: 'resume'; readonly request: number; readonly page: SaPage }
  | { readonly type: 'remove'; readonly request: number; readonly handles: readonly number[] }
  | { readonly type: 'evidence'; readonly heard: Uint32Array; readonly sent: Uint32Array; readonly atMs: number }
  | { readonly type: 'delegated'; readonly handles: Uint32Array; readonly probeIds: Uint32Array }
  | { readonly type: 'path'; readonly path: ShardPath }
  /** Whether the headend's stream is up: delegated probes can be run. */
  | { readonly type: 'headend'; readonly present: boolean }
  | { readonly type: 'voucher'; readonly canary: number }
  | ({ readonly type: 'lease' } & Ownership)
  /** The shard may have been another's for so long: what is known of its SAs may be outdated by that. */
  | { readonly type: 'doubt'; readonly missedMs: number }
  /** Verdicts just given are held back: the peers are asked on. */
  | { readonly type: 'hold'; readonly handles: readonly number[] }
  /** Verdicts held back are given after all, or dropped: then the peers are suspected anew. */
  | { readonly type: 'endHold'; readonly handles: readonly number[]; readonly drop: boolean }
  | { readonly type: 'query'; readonly request: number; readonly handles: readonly number[] }
  | { readonly type: 'nextMids'; readonly request: number; readonly handles: readonly number[] }
  | { readonly type: 'counters'; readonly request: number }
  | { readonly type: 'checkpoint'; readonly request: number }
  /** The same for every SA, changed or not. */
  | { readonly type: 'wholeCheckpoint'; readonly request: number }
  /** Keys of SAs, to be stored: those of a headend, and those held. */
  | { readonly type: 'seal'; readonly request: number; readonly keys: KeysPage }
  | { readonly type: 'sealedKeys'; readonly request: number; readonly handles: readonly number[] }
  | { readonly type: 'stop' };

/** A verdict as the shard gives it; the main thread knows the rest of the SA. */
export type ShardVerdict = {
  readonly handle: number;
  readonly lastEvidenceUnix: number;
  readonly firstProbeUnix: number;
  readonly probesSent: number;
  readonly earliestUnix: number;
  readonly decidedUnix: number;
  /** Blind time given back before it, ms. */
  readonly blindMs: number;
};

/** A suspicion that ended with an answer after at least one silence. */
export type Recovery = {
  readonly handle: number;
  readonly firstProbeUnix: number;
  readonly attempts: number;
  /** A verdict had been given, and perhaps held back. */
  readonly wasDead: boolean;
};

/** Counts since the shard started, by site; see liveness/outcomes.ts. */
export type OutcomeCounts = { readonly well: Uint32Array; readonly silent: Uint32Array };

export type PeerStatus = {
  readonly state: number;
  readonly lastEvidenceAgeMs: number;
  readonly probesSent: number;
  readonly probesAnswered: number;
  readonly nextMid: number;
  readonly keyed: boolean;
  /** It has shown life since it was added here. */
  readonly proven: boolean;
};

/** A piece of the checkpoint: see checkpoint.ts. */
export type CheckpointChunk = { readonly index: number; readonly bytes: Uint8Array };

/** Chunks of the checkpoint. With all that were given before they tell everything up to this moment, and some later. */
export type CheckpointPart = { readonly chunks: readonly CheckpointChunk[]; readonly asOfMs: number };

/** Counters of a shard, all monotonic but the gauges named in operator.proto. */
export type ShardCounters = {
  peers: number;
  states: number[];
  pathVouched: boolean;
  probesSent: number;
  retransmissions: number;
  probesAnswered: number;
  probesDelegated: number;
  probesSuppressed: number;
  probesBlocked: number;
  sendErrors: number;
  verdicts: number;
  evidenceHeard: number;
  evidenceSent: number;
  evidenceUnknown: number;
  repliesMalformed: number;
  repliesUnknownSa: number;
  repliesForged: number;
  repliesReplayed: number;
  /** Dropped by the kernel, as the socket's queue was full: answers, most likely. */
  repliesUnread: number;
  canariesSent: number;
  vouchers: number;
  suspicionsBlinded: number;
  /** How late probes are for want of budget, ms. */
  behindMs: number;
};

/** Answers by the type of the request. */
export type Answer = {
  readonly resume: LeftOut;
  /** Next message id by handle, {@link NO_MID} without keys. */
  readonly remove: readonly number[];
  readonly query: readonly PeerStatus[];
  /** By handle, {@link NO_MID} without keys. */
  readonly nextMids: Uint32Array;
  readonly counters: ShardCounters;
  readonly checkpoint: CheckpointPart;
  readonly wholeCheckpoint: CheckpointPart;
  /** Sealed, in place of each. */
  readonly seal: KeysPage;
  /** Undefined without keys. */
  readonly sealedKeys: readonly (Uint8Array | undefined)[];
};

export type FromShard =
  | { readonly type: 'ready'; readonly probePort: number }
  /** See verdict-rows.ts. */
  | { readonly type: 'verdicts'; readonly rows: Float64Array }
  | { readonly type: 'recovered'; readonly recoveries: readonly Recovery[] }
  | { readonly type: 'outcomes'; readonly outcomes: OutcomeCounts }
  | { readonly type: 'delegated'; readonly handles: Uint32Array; readonly probeIds: Uint32Array }
  /** SAs that were watched until now. */
  | ({ readonly type: 'abandoned' } & Abandoned)
  | { readonly type: 'answer'; readonly request: number; readonly body: Answer[keyof Answer] };

/** Stands for "no message id": the SA has no keys here. */
export const NO_MID = 0xffffffff;

/** What a shard's task is started with. */
export type ShardTask = {
  readonly port: import('node:worker_threads').MessagePort;
  readonly probe: ProbePlace;
  /** Budget of the thread, shared by its shards, probes a second. */
  readonly probesPerSecond: number;
  /** Unix ms at which the monotonic clock was 0: the same for all threads of a process, and for good. */
  readonly zeroUnix: number;
  /** Of the vault, for what Redis has. */
  readonly vaultKey: Uint8Array;
};
