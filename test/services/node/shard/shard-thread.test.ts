import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Piscina } from 'piscina';
import { ShardThread } from '../../../../services/node/shard/shard-thread.ts';
import { bindUdp } from '../../../../workers/net/udp.ts';

const ADDRESS = '127.0.0.1';

test('a shard has its port to itself, and when it has stopped or its thread has died the port is free', async (t) => {
  const pool = new Piscina({
    filename: new URL('../../../../workers/shard/task.ts', import.meta.url).href,
    maxThreads: 2,
  });
  t.after(() => pool.destroy());
  const start = (port: number) =>
    new ShardThread(pool, { address: ADDRESS, address6: '::1', port, shard: 0 }, 1_000, [Buffer.alloc(32)], () => {});
  const first = start(0);
  const port = await first.ready;
  await assert.rejects(start(port).ready, { code: 'EADDRINUSE' });
  assert.notEqual(await first.stop(), undefined);
  const second = start(port);
  assert.equal(await second.ready, port);
  await assert.rejects(bindUdp(ADDRESS, port), { code: 'EADDRINUSE' });
  const died = assert.rejects(second.done);
  second.kill();
  await died;
  (await bindUdp(ADDRESS, port)).close();
});
