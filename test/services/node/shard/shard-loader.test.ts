import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex } from '../../../../services/api/spi.ts';
import { createLogger } from '../../../../services/base/log.ts';
import { ShardRecords } from '../../../../services/node/records/records.ts';
import { Sites } from '../../../../services/node/records/sites.ts';
import { loadSas } from '../../../../services/node/shard/shard-loader.ts';
import { packRecord, saRecords } from '../../../../workers/sa/sa-page.ts';

const FORMER = { headend: 'hub', chunks: [], translated: new Map(), atUnix: 0, ageMs: 0 };

test('what of an SA in Redis its readers could understand differently is left out, and the rest is watched', async () => {
  const id = (n: number) => ({ initiatorSpi: 1n, responderSpi: BigInt(n) });
  const sa = (n: number) => toBinary(SaSchema, create(SaSchema, { id: id(n), peerId: 'p', revision: n }));
  const stored: [n: number, sa: Uint8Array][] = [
    [1, sa(1)],
    // A packed field of five bytes; a text that is none; a record under another's name; a length past the end.
    [2, Buffer.concat([sa(2), Buffer.of((10 << 3) | 2, 5, 1, 2, 3, 4, 5)])],
    [3, Buffer.concat([sa(3), Buffer.of((14 << 3) | 2, 1, 0xff)])],
    [4, sa(5)],
    [6, Buffer.concat([sa(6), Buffer.of((14 << 3) | 2, 9, 0x41)])],
    [7, sa(7)],
  ];
  const rows = stored.map(([, message]) => packRecord(message, undefined));
  const ends = Buffer.alloc(4 * rows.length);
  rows.reduce((end, row, n) => {
    ends.writeUInt32LE(end + row.length, 4 * n);
    return end + row.length;
  }, 0);
  const spis = Buffer.from(stored.map(([n]) => spiHex(id(n))).join(''));
  const records = new ShardRecords();
  const removed: string[] = [];
  const resumed: number[] = [];
  const store = {
    readDead: async () => new Set<string>(),
    async *readSas() {
      yield { spis, records: saRecords(ends, Buffer.concat(rows)) };
    },
    removeSas: async (gone: readonly string[]) => void removed.push(...gone),
  };
  const task = {
    send: () => {},
    resume: async ({ handles }: { handles: Uint32Array }) => {
      resumed.push(...handles);
      return { unreadable: [], opened: 0, sealed: 0 };
    },
  };
  await loadSas({ store, records, task, sites: new Sites(), log: createLogger('test', 'silent') }, FORMER);
  assert.deepEqual(
    [...records.handles()].map((handle) => records.get(handle)?.revision),
    [1, 7],
  );
  assert.deepEqual(
    resumed.filter((handle) => handle < 100),
    [0, 1],
  );
  assert.deepEqual(
    removed,
    [2, 3, 4, 6].map((n) => spiHex(id(n))),
  );
});
