/**
 * SAs that go from their headend or Redis to a shard's thread: records in a row, without an object for each. A record, as
 * Redis has it too: length of the Sa message (2 bytes, big-endian), the message, without keys, and the SaKeys message,
 * perhaps sealed, if there is one.
 */

import { MessageReader } from './message-reader.ts';

/** An SA as it was encoded. */
export type SaBytes = {
  /** The Sa message without keys. */
  readonly sa: Uint8Array;
  /** The SaKeys message, perhaps sealed; undefined without keys. */
  readonly keys: Uint8Array | undefined;
};

/** One SA as it goes into a page. */
export type PageRow = SaBytes & {
  readonly handle: number;
  /** Number of its site label. */
  readonly site: number;
  /** A verdict on it is already in the log. */
  readonly dead: boolean;
};

/** Bytes of a record before its messages. */
const HEAD = 2;

export type SaRecords = {
  /** Where each record ends in `bytes`. */
  readonly ends: Uint32Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
};

export type SaPage = SaRecords & {
  /** {@link NO_HANDLE} for a record that is skipped. */
  readonly handles: Uint32Array<ArrayBuffer>;
  readonly sites: Uint16Array<ArrayBuffer>;
  readonly dead: Uint8Array<ArrayBuffer>;
};

/** An SA's record. @param sa at most 65,535 bytes */
export function packRecord(sa: Uint8Array, keys: Uint8Array | undefined): Buffer {
  const record = Buffer.allocUnsafe(HEAD + sa.length + (keys?.length ?? 0));
  writeRecord(record, 0, sa, keys);
  return record;
}

/**
 * Takes over records as Redis has them. Copies them unless they have a buffer of their own, which may then be transferred.
 * @param ends little-endian, 4 bytes each
 */
export function saRecords(ends: Buffer, bytes: Buffer<ArrayBuffer>): SaRecords {
  const alone = bytes.length === bytes.buffer.byteLength;
  const records = { ends: new Uint32Array(ends.length / 4), bytes: new Uint8Array(alone ? bytes.buffer : bytes) };
  for (let n = 0; n < records.ends.length; n++) records.ends[n] = ends.readUInt32LE(4 * n);
  return records;
}

/** Copies SAs into a page, whose buffers may then be transferred. */
export function packPage(rows: readonly PageRow[]): SaPage {
  const length = rows.reduce((sum, { sa, keys }) => sum + HEAD + sa.length + (keys?.length ?? 0), 0);
  const page = {
    handles: new Uint32Array(rows.length),
    sites: new Uint16Array(rows.length),
    dead: new Uint8Array(rows.length),
    ends: new Uint32Array(rows.length),
    bytes: new Uint8Array(length),
  };
  let at = 0;
  rows.forEach(({ handle, site, dead, sa, keys }, n) => {
    page.handles[n] = handle;
    page.sites[n] = site;
    page.dead[n] = dead ? 1 : 0;
    at = writeRecord(page.bytes, at, sa, keys);
    page.ends[n] = at;
  });
  return page;
}

/** SaKeys message of one, perhaps sealed, as a view; undefined without keys. */
export function keysOf({ ends, bytes }: SaRecords, n: number): Uint8Array | undefined {
  const from = saEnd(bytes, n === 0 ? 0 : ends[n - 1]!);
  return from < ends[n]! ? bytes.subarray(from, ends[n]!) : undefined;
}

/** Goes through records one by one, and reads their Sa messages without copies. */
export class RecordCursor {
  /** Stands at the beginning of the Sa message. */
  readonly reader: MessageReader;
  readonly #records: SaRecords;
  /** Number of the record. */
  row = -1;
  /** Where its Sa message ends for the reader. */
  saEnd = 0;
  hasKeys = false;

  constructor(records: SaRecords) {
    this.#records = records;
    this.reader = new MessageReader(records.bytes);
  }

  /** Goes to the next record. False if there is none. */
  next(): boolean {
    const { ends, bytes } = this.#records;
    const at = this.row < 0 ? 0 : ends[this.row]!;
    if (++this.row >= ends.length) return false;
    const [keysAt, end] = [saEnd(bytes, at), ends[this.row]!];
    this.reader.pos = at + HEAD;
    this.saEnd = Math.min(keysAt, end);
    this.hasKeys = keysAt < end;
    return true;
  }
}

/** What to transfer with a page. */
export function buffersOf({ handles, sites, dead, ends, bytes }: SaPage): ArrayBuffer[] {
  return [handles.buffer, sites.buffer, dead.buffer, ends.buffer, bytes.buffer];
}

/** Returns where the record ends. */
function writeRecord(bytes: Uint8Array, at: number, sa: Uint8Array, keys: Uint8Array | undefined): number {
  bytes[at] = sa.length >>> 8;
  bytes[at + 1] = sa.length;
  bytes.set(sa, at + HEAD);
  const end = at + HEAD + sa.length;
  if (!keys) return end;
  bytes.set(keys, end);
  return end + keys.length;
}

/** Where the Sa of the record at `at` ends. */
function saEnd(bytes: Uint8Array, at: number): number {
  return at + HEAD + bytes[at]! * 256 + bytes[at + 1]!;
}
