/**
 * Checkpoints of liveness: what a new owner needs to go on. Written in chunks of neighbouring handles, and only those
 * in which something changed. A row, 30 bytes, big-endian: SPIs (16), next message id (4), last evidence as Unix ms
 * (float64, 8), flags (1), and how far above that id the true one may be (1).
 */

import type { SessionTable } from './ike/sessions.ts';
import { SessionFlag } from './ike/sessions.ts';
import { Flag, type PeerTable } from './liveness/peers.ts';
import type { CheckpointChunk } from './protocol.ts';

const CHUNK_BITS = 9;
const CHUNK = 1 << CHUNK_BITS;
export const ROW_LENGTH = 30;

const RowFlag = { OUTSTANDING: 1, FRESH: 2 } as const;

/** One SA's liveness as checkpointed. */
export type CheckpointRow = {
  readonly sa: string;
  readonly nextMid: number;
  readonly heardUnix: number;
  /** A request with `nextMid` was under way. */
  readonly outstanding: boolean;
  /** Not asked yet since it was added. */
  readonly fresh: boolean;
  /** After a takeover, until the peer has answered: the next id is `nextMid` or up to so many above. */
  readonly doubt: number;
};

/** Marks and collects the chunks that changed since they were last collected. */
export class CheckpointWriter {
  #dirty = new Uint8Array(1);

  /** Something about this handle changed. */
  touch(handle: number): void {
    const chunk = handle >>> CHUNK_BITS;
    if (chunk >= this.#dirty.length) {
      const wider = new Uint8Array(Math.max(chunk + 1, this.#dirty.length * 2));
      wider.set(this.#dirty);
      this.#dirty = wider;
    }
    this.#dirty[chunk] = 1;
  }

  /** Something about every handle counts as changed. */
  touchAll(): void {
    this.#dirty.fill(1);
  }

  /**
   * The changed chunks, which then count as clean.
   * @param peers whose times are on the clock that `epochUnix` is the zero of
   * @param epochUnix Unix ms at which that clock was 0
   */
  collect(sessions: SessionTable, peers: PeerTable, epochUnix: number): CheckpointChunk[] {
    const chunks: CheckpointChunk[] = [];
    for (let index = 0; index < this.#dirty.length; index++) {
      if (this.#dirty[index] === 0) continue;
      this.#dirty[index] = 0;
      chunks.push({ index, bytes: encode(index * CHUNK, sessions, peers, epochUnix) });
    }
    return chunks;
  }
}

function encode(first: number, sessions: SessionTable, { heardAt, flags }: PeerTable, epochUnix: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(CHUNK * ROW_LENGTH);
  let at = 0;
  for (let handle = first; handle < first + CHUNK; handle++) {
    if (!sessions.is(handle, SessionFlag.USED)) continue;
    at = bytes.writeUInt32BE(sessions.spiI0[handle]!, at);
    at = bytes.writeUInt32BE(sessions.spiI1[handle]!, at);
    at = bytes.writeUInt32BE(sessions.spiR0[handle]!, at);
    at = bytes.writeUInt32BE(sessions.spiR1[handle]!, at);
    at = bytes.writeUInt32BE(sessions.nextMid[handle]!, at);
    at = bytes.writeDoubleBE(heardAt[handle]! + epochUnix, at);
    const outstanding = sessions.is(handle, SessionFlag.OUTSTANDING) ? RowFlag.OUTSTANDING : 0;
    at = bytes.writeUInt8(outstanding | (flags[handle]! & Flag.FRESH ? RowFlag.FRESH : 0), at);
    at = bytes.writeUInt8(Math.max(0, sessions.topMid[handle]! - sessions.nextMid[handle]!), at);
  }
  return Uint8Array.from(bytes.subarray(0, at));
}

/** Rows of a chunk. The SA is named by its 16 SPI bytes in hex. */
export function* decodeChunk(chunk: Uint8Array): Generator<CheckpointRow> {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  for (let at = 0; at + ROW_LENGTH <= bytes.length; at += ROW_LENGTH)
    yield {
      sa: bytes.toString('hex', at, at + 16),
      nextMid: bytes.readUInt32BE(at + 16),
      heardUnix: bytes.readDoubleBE(at + 20),
      outstanding: (bytes[at + 28]! & RowFlag.OUTSTANDING) !== 0,
      fresh: (bytes[at + 28]! & RowFlag.FRESH) !== 0,
      doubt: bytes[at + 29]!,
    };
}
