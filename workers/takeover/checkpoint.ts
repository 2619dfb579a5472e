/**
 * Checkpoints of liveness: what a new owner needs to go on. They are written in chunks of neighbouring handles: only
 * chunks that changed, a limited number at a time, those that have waited longest first. So a large shard's checkpoint
 * lags behind, and says by how much. A row, 31 bytes, big-endian: SPIs (16), next message id (4), last evidence as Unix
 * ms (float64, 8), flags (1), and how far above that id the true one may be (2).
 */

import { widen } from '../base/columns.ts';
import type { SpiWords } from '../base/spi.ts';
import { writeSpi } from '../base/spi-index.ts';
import { PARKED_ID } from '../ikev2/header.ts';
import type { SessionTable } from '../ikev2/sessions.ts';
import { SessionFlag } from '../ikev2/sessions.ts';
import { Flag, type PeerTable } from '../liveness/peers.ts';

const CHUNK_BITS = 9;
const CHUNK = 1 << CHUNK_BITS;
export const ROW_LENGTH = 31;
/** Chunks collected at a time, unless all are wanted: 8,192 SAs, 240 KiB. */
const COLLECTED = 16;

const RowFlag = { OUTSTANDING: 1, FRESH: 2, PROVEN: 4 } as const;

/** One SA's liveness as checkpointed. */
export type CheckpointRow = {
  readonly spi: SpiWords;
  readonly nextMid: number;
  readonly heardUnix: number;
  /** A request with `nextMid` was under way. */
  readonly outstanding: boolean;
  /** Not asked yet since it was added. */
  readonly fresh: boolean;
  /** It has answered a probe. */
  readonly proven: boolean;
  /** After a takeover, until the peer has answered: the next id is `nextMid` or up to so much higher. */
  readonly uncertainty: number;
};

/** Marks and collects the chunks that changed since they were last collected. */
export class CheckpointWriter {
  #dirty = new Uint8Array(1);
  /** Since when a chunk is dirty at the earliest, on the clock of the peers' times; 0: since the last collection. */
  #since = new Float64Array(1);
  #collectedAt: number;

  /** @param nowMs on the clock of the peers' times */
  constructor(nowMs: number) {
    this.#collectedAt = nowMs;
  }

  /** Something about this handle changed. */
  touch(handle: number): void {
    const chunk = handle >>> CHUNK_BITS;
    if (chunk >= this.#dirty.length) {
      const capacity = Math.max(chunk + 1, this.#dirty.length * 2);
      this.#dirty = widen(new Uint8Array(capacity), this.#dirty);
      this.#since = widen(new Float64Array(capacity), this.#since);
    }
    this.#dirty[chunk] = 1;
  }

  /**
   * Changed chunks, which then count as clean.
   * @param peers, with times on the clock whose zero is `epochUnix`
   * @param epochUnix Unix ms at which that clock was 0
   * @param whole every chunk, changed or not
   */
  collect(sessions: SessionTable, peers: PeerTable, epochUnix: number, nowMs: number, whole: boolean): CheckpointPart {
    if (whole) this.#dirty.fill(1);
    const dirty: number[] = [];
    for (let index = 0; index < this.#dirty.length; index++) {
      if (this.#dirty[index] === 0) continue;
      if (this.#since[index] === 0) this.#since[index] = this.#collectedAt;
      dirty.push(index);
    }
    dirty.sort((a, b) => this.#since[a]! - this.#since[b]!);
    const chunks: CheckpointChunk[] = dirty.slice(0, whole ? dirty.length : COLLECTED).map((index) => {
      this.#dirty[index] = 0;
      this.#since[index] = 0;
      return { index, bytes: encode(index * CHUNK, sessions, peers, epochUnix) };
    });
    this.#collectedAt = nowMs;
    const oldest = dirty[chunks.length];
    return { chunks, asOfMs: oldest === undefined ? nowMs : this.#since[oldest]! };
  }
}

function encode(first: number, sessions: SessionTable, { heardAt, flags }: PeerTable, epochUnix: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(CHUNK * ROW_LENGTH);
  let at = 0;
  for (let handle = first; handle < first + CHUNK; handle++) {
    if (!sessions.is(handle, SessionFlag.USED)) continue;
    at = writeSpi(sessions.spis, handle, bytes, at);
    at = bytes.writeUInt32BE(sessions.nextMid[handle]!, at);
    at = bytes.writeDoubleBE(heardAt[handle]! + epochUnix, at);
    const outstanding = sessions.busy(handle) ? RowFlag.OUTSTANDING : 0;
    const fresh = flags[handle]! & Flag.FRESH ? RowFlag.FRESH : 0;
    const proven = flags[handle]! & Flag.PROVEN ? RowFlag.PROVEN : 0;
    at = bytes.writeUInt8(outstanding | fresh | proven, at);
    at = bytes.writeUInt16BE(sessions.uncertainty[handle]!, at);
  }
  return Uint8Array.from(bytes.subarray(0, at));
}

/** Rows of a chunk. */
export function* decodeChunk(chunk: Uint8Array): Generator<CheckpointRow> {
  const bytes = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  for (let at = 0; at + ROW_LENGTH <= chunk.length; at += ROW_LENGTH)
    yield { spi: spiInRow(bytes, at), ...decodeRow(bytes, at) };
}

/** Last moment of ECMAScript's clock, Unix ms. */
const LAST_UNIX = 8.64e15;

/** Whether the row at this byte of a chunk is valid: a damaged row is ignored, and harms no other SA. */
export function isRow(bytes: DataView, at: number): boolean {
  const { nextMid, uncertainty, heardUnix } = decodeRow(bytes, at);
  return nextMid + uncertainty < PARKED_ID && Math.abs(heardUnix) <= LAST_UNIX;
}

/** SPIs in the row at this byte of a chunk. */
export function spiInRow(bytes: DataView, at: number): SpiWords {
  return [bytes.getUint32(at), bytes.getUint32(at + 4), bytes.getUint32(at + 8), bytes.getUint32(at + 12)];
}

/** The rest of the row at this byte of a chunk. */
export function decodeRow(bytes: DataView, at: number): Omit<CheckpointRow, 'spi'> {
  const flags = bytes.getUint8(at + 28);
  return {
    nextMid: bytes.getUint32(at + 16),
    heardUnix: bytes.getFloat64(at + 20),
    outstanding: (flags & RowFlag.OUTSTANDING) !== 0,
    fresh: (flags & RowFlag.FRESH) !== 0,
    proven: (flags & RowFlag.PROVEN) !== 0,
    uncertainty: bytes.getUint16(at + 29),
  };
}

/** A piece of the checkpoint: see checkpoint.ts. */
export type CheckpointChunk = { readonly index: number; readonly bytes: Uint8Array };

/** Chunks of the checkpoint. Together with all earlier chunks they contain everything up to this moment, and some later changes. */
export type CheckpointPart = { readonly chunks: readonly CheckpointChunk[]; readonly asOfMs: number };

/** A request of the headend's daemon: its own message id, and the id under which it was sent to its spoke. */
export type Translated = { readonly daemonId: number; readonly id: number };

/** What former owners left of a shard, for the thread that takes over their SAs. */
export type FormerOwners = {
  readonly headend: string;
  /** Chunks of their checkpoint, in any order. */
  readonly chunks: readonly { readonly epoch: number; readonly bytes: Uint8Array }[];
  /** The latest request of the headend's daemon on each SA, by SPI pair in hex. */
  readonly translated: ReadonlyMap<string, Translated>;
  /** Up to when it is complete, by the owner's clock, Unix ms. */
  readonly atUnix: number;
  /** How long ago that was, by Redis's clock, ms: for so long another owner may have asked. */
  readonly ageMs: number;
};
