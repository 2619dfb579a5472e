/** SAs on their way to a shard's thread: their messages in a row, without an object for each on the way. */

/** One SA as it goes into a page. */
export type PageRow = {
  readonly handle: number;
  /** Number of its site label. */
  readonly site: number;
  /** A verdict on it is already in the log. */
  readonly dead: boolean;
  /** The Sa message without keys. */
  readonly sa: Uint8Array;
  /** The SaKeys message, perhaps sealed; undefined without keys. */
  readonly keys: Uint8Array | undefined;
};

export type SaPage = {
  readonly handles: Uint32Array<ArrayBuffer>;
  readonly sites: Uint16Array<ArrayBuffer>;
  readonly dead: Uint8Array<ArrayBuffer>;
  /** Where each message ends in `bytes`: Sa, keys, Sa, keys... */
  readonly ends: Uint32Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
};

/** Copies SAs into a page, whose buffers may then be transferred. */
export function packPage(rows: readonly PageRow[]): SaPage {
  const length = rows.reduce((sum, { sa, keys }) => sum + sa.length + (keys?.length ?? 0), 0);
  const page = {
    handles: new Uint32Array(rows.length),
    sites: new Uint16Array(rows.length),
    dead: new Uint8Array(rows.length),
    ends: new Uint32Array(2 * rows.length),
    bytes: new Uint8Array(length),
  };
  let at = 0;
  rows.forEach(({ handle, site, dead, sa, keys }, n) => {
    page.handles[n] = handle;
    page.sites[n] = site;
    page.dead[n] = dead ? 1 : 0;
    page.bytes.set(sa, at);
    at += sa.length;
    page.ends[2 * n] = at;
    if (keys) {
      page.bytes.set(keys, at);
      at += keys.length;
    }
    page.ends[2 * n + 1] = at;
  });
  return page;
}

/** Visits the SAs of a page; messages are views of it. */
export function forEachRow({ handles, sites, dead, ends, bytes }: SaPage, visit: (row: PageRow) => void): void {
  let at = 0;
  for (let n = 0; n < handles.length; n++) {
    const saEnd = ends[2 * n]!;
    const keysEnd = ends[2 * n + 1]!;
    visit({
      handle: handles[n]!,
      site: sites[n]!,
      dead: dead[n] === 1,
      sa: bytes.subarray(at, saEnd),
      keys: keysEnd > saEnd ? bytes.subarray(saEnd, keysEnd) : undefined,
    });
    at = keysEnd;
  }
}

/** What to transfer with a page. */
export function buffersOf({ handles, sites, dead, ends, bytes }: SaPage): ArrayBuffer[] {
  return [handles.buffer, sites.buffer, dead.buffer, ends.buffer, bytes.buffer];
}
