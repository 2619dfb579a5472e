import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  keysOf,
  type PageRow,
  packPage,
  packRecord,
  RecordCursor,
  type SaPage,
  saRecords,
} from '../../../workers/sa/sa-page.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const row = fc.record(
  {
    handle: fc.nat(),
    site: fc.nat(0xffff),
    dead: fc.boolean(),
    sa: bytes(600),
    keys: fc.option(fc.uint8Array({ minLength: 1, maxLength: 150 }), { nil: undefined }),
  },
  { noNullPrototype: true },
);

test('property: rows come out of a page as they went in, and out of the records that Redis has', () => {
  fc.assert(
    fc.property(fc.array(row), (rows) => {
      const page = packPage(rows);
      assert.deepEqual(rowsOf(page), rows);

      const records = rows.map(({ sa, keys }) => packRecord(sa, keys));
      const ends = Buffer.alloc(4 * rows.length);
      records.reduce((end, record, n) => ends.writeUInt32LE(end + record.length, 4 * n) && end + record.length, 0);
      assert.deepEqual(rowsOf({ ...page, ...saRecords(ends, Buffer.concat(records)) }), rows);
    }),
  );
});

test('a damaged record is what there is of it, and harms no other', () => {
  const rows = [0, 1].map((handle) => ({ handle, site: 0, dead: false, sa: Buffer.from('sa'), keys: undefined }));
  const page = packPage(rows);
  page.bytes[0] = 0xff;
  assert.deepEqual(
    rowsOf(page).map(({ handle, sa, keys }) => [handle, Buffer.from(sa).toString(), keys]),
    [
      [0, 'sa', undefined],
      [1, 'sa', undefined],
    ],
  );
});

function rowsOf(page: SaPage): PageRow[] {
  const { handles, sites, dead } = page;
  const rows: PageRow[] = [];
  for (const cursor = new RecordCursor(page); cursor.next(); ) {
    const { row, reader, saEnd, hasKeys } = cursor;
    const keys = keysOf(page, row);
    assert.equal(hasKeys, keys !== undefined);
    rows.push({
      handle: handles[row]!,
      site: sites[row]!,
      dead: dead[row] === 1,
      sa: reader.source.slice(reader.pos, saEnd),
      keys: keys && Uint8Array.from(keys),
    });
  }
  return rows;
}
