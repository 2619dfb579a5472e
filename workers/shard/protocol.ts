/**
 * What the main thread and a shard's thread say to each other. Times: *AtMs and atMs on the clock that all threads share,
 * other *Ms a duration or an age, *Unix wall, ms.
 */

import type { KeysPage } from '../keys/keys-page.ts';
import type { State } from '../liveness/peers.ts';
import type { RoundTrip, RoundTripCounts } from '../liveness/round-trips.ts';
import type { Traced } from '../liveness/traced.ts';
import type { ProbePlace } from '../net/probe-socket.ts';
import type { ShardPath } from '../path/ways.ts';
import type { SaPage } from '../sa/sa-page.ts';
import type { CheckpointPart, FormerOwners } from '../takeover/checkpoint.ts';
import type { ThreadCounts } from './counters.ts';
import type { Abandoned, LeftOut } from './intake.ts';

export type ToShard =
  /** SAs as their headend registers them, keys open. */
  | { readonly type: 'upsert'; readonly page: SaPage }
  /** SAs of former owners follow. If it is absent, all have been sent. */
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
  /** Redis knows which id a request of the headend's daemon has. */
  | { readonly type: 'noted'; readonly handle: number; readonly daemonId: number }
  /** Verdicts just given are held back: the peers are asked on. */
  | { readonly type: 'hold'; readonly handles: readonly number[] }
  /** Verdicts are not held back any longer: the peers are suspected anew, or, with `asked`, the verdicts stand. */
  | { readonly type: 'endHold'; readonly handles: readonly number[]; readonly asked: boolean }
  /** An operator has these SAs deleted: with which action of the API. Answered with the number that got a verdict. */
  | { readonly type: 'clear'; readonly request: number; readonly handles: readonly number[]; readonly action: number }
  /** What happens to these peers is told, or not any more. */
  | { readonly type: 'trace'; readonly handles: readonly number[]; readonly on: boolean }
  | { readonly type: 'query'; readonly request: number; readonly handles: readonly number[] }
  | { readonly type: 'inventory'; readonly request: number; readonly handles: readonly number[] }
  | { readonly type: 'counters'; readonly request: number }
  | { readonly type: 'roundTrips'; readonly request: number }
  | { readonly type: 'checkpoint'; readonly request: number }
  /** The same for every SA, changed or not. */
  | { readonly type: 'wholeCheckpoint'; readonly request: number }
  /** Keys of SAs, to be stored: those of a headend, and those held. */
  | { readonly type: 'seal'; readonly request: number; readonly keys: KeysPage }
  | { readonly type: 'sealedKeys'; readonly request: number; readonly handles: readonly number[] }
  /** The vault has others from now on. */
  | { readonly type: 'vaultKeys'; readonly keys: readonly Uint8Array[] }
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
  /** What an operator wants done with the SA: an Action of the API; 0: the peer was found dead. */
  readonly asked: number;
};

/** Something happened to a peer that is traced. */
export type TracedEvent = {
  readonly handle: number;
  readonly event: Traced;
  readonly value: number;
  readonly atUnix: number;
  /** Of a probe that may not leave: why. */
  readonly why: string;
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
  readonly state: State;
  readonly lastEvidenceAgeMs: number;
  readonly probesSent: number;
  readonly probesAnswered: number;
  readonly nextMid: number;
  readonly keyed: boolean;
  /** It has answered a probe of this owner or of a former one. */
  readonly proven: boolean;
  /** Why it is BLOCKED; otherwise ''. */
  readonly blockedReason: string;
  readonly roundTrip: RoundTrip;
};

/** For a row of SAs: next message ids ({@link NO_MID} without keys), and positions of the SAs that are not parked. */
export type Inventoried = { readonly nextMids: Uint32Array; readonly unparked: readonly number[] };

/** Answers by the type of the request. */
export type Answer = {
  readonly resume: LeftOut;
  /** Next message id by handle, {@link NO_MID} without keys. */
  readonly remove: readonly number[];
  readonly query: readonly PeerStatus[];
  readonly clear: { readonly cleared: number };
  readonly inventory: Inventoried;
  readonly counters: ThreadCounts;
  readonly roundTrips: RoundTripCounts;
  readonly checkpoint: CheckpointPart;
  readonly wholeCheckpoint: CheckpointPart;
  /** Sealed, in place of each. */
  readonly seal: KeysPage;
  /** Undefined without keys. */
  readonly sealedKeys: readonly (Uint8Array | undefined)[];
};

export type FromShard =
  | { readonly type: 'ready'; readonly probePort: number; readonly threadId: number }
  /** See verdict-rows.ts. */
  | { readonly type: 'verdicts'; readonly rows: Float64Array }
  | { readonly type: 'recovered'; readonly recoveries: readonly Recovery[] }
  | { readonly type: 'traced'; readonly events: readonly TracedEvent[] }
  | { readonly type: 'outcomes'; readonly outcomes: OutcomeCounts }
  | { readonly type: 'delegated'; readonly handles: Uint32Array; readonly probeIds: Uint32Array }
  /** A request of the headend's daemon is about to be sent under this id. */
  | { readonly type: 'translating'; readonly handle: number; readonly daemonId: number; readonly id: number }
  /** SAs that were watched until now. */
  | ({ readonly type: 'abandoned' } & Abandoned)
  | { readonly type: 'answer'; readonly request: number; readonly body: Answer[keyof Answer] };

/** What a shard's task is started with. */
export type ShardTask = {
  readonly port: import('node:worker_threads').MessagePort;
  readonly probe: ProbePlace;
  /** Number of the shard. */
  readonly shard: number;
  /** Budget of the thread, shared by its shards, probes a second. */
  readonly probesPerSecond: number;
  /** Unix ms at which the monotonic clock was 0: the same for all threads of a process, and for good. */
  readonly zeroUnix: number;
  /** The vault's key, for data in Redis. */
  readonly vaultKeys: readonly Uint8Array[];
};
