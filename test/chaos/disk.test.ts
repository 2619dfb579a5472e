import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../eventually.ts';
import { ChaosCluster, DETECTION_MS, sasHeld } from './cluster.ts';
import { inOwnNamespaces, run } from './own-namespaces.ts';
import { RedisServers } from './redis-servers.ts';

const SPOKES = 200;
const DISK_BYTES = 4 * 1024 * 1024;

await inOwnNamespaces('a disk of its own for Redis', import.meta.url, () => {
  test('no room for the append-only file: liveness goes on, verdicts wait, and nothing acknowledged is lost', async (t) => {
    const disk = mkdtempSync(join(tmpdir(), 'dpd-chaos-disk-'));
    await run('mount', '-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk);
    const redis = await RedisServers.single(['--dir', disk, '--auto-aof-rewrite-percentage', '0']);
    const [server] = redis.servers;
    const cluster = new ChaosCluster(redis.url);
    t.after(async () => {
      await cluster.stop();
      await redis.stop();
      await run('umount', disk);
      rmSync(disk, { recursive: true });
    });
    await Promise.all(['one', 'two', 'three'].map((name) => cluster.startNode(name)));
    const hub = await cluster.startHeadend('hub-a', SPOKES);
    await cluster.everyoneProbed(20_000);
    fill(disk);
    await eventually('Redis refuses writes', 20_000, async () =>
      server!.command('SET', 'probe', '1').then(
        () => false,
        (error: Error) => error.message.startsWith('MISCONF'),
      ),
    );
    for (const spoke of [1, 2, 3]) hub.responder.kill(spoke, 0);
    const answered = hub.responder.answered;
    await sleep(DETECTION_MS + 6_000);
    assert(hub.responder.answered - answered > (SPOKES - 3) * 3, 'probing stood still');
    assert.equal(hub.verdicts.length, 0, 'a verdict was delivered that the log does not have');
    rmSync(join(disk, 'filler'), { recursive: true });
    await eventually('they come', 15_000, () => cluster.deadOf(hub).length === 3);
    // Acknowledged writes are on the disk again now.
    await eventually('the agent is content', 15_000, () => hub.agent!.settled);
    await server!.kill();
    await server!.start();
    assert.equal(await sasHeld(server!, 'hub-a'), SPOKES - 3);
    await cluster.everyoneProbed(20_000);
    assert.deepEqual(cluster.deadOf(hub), ['spoke-1', 'spoke-2', 'spoke-3']);
  });
});

/** Leaves no byte free. */
function fill(disk: string): void {
  const directory = join(disk, 'filler');
  mkdirSync(directory);
  for (let size = DISK_BYTES, n = 0; size >= 1; ) {
    try {
      writeFileSync(join(directory, `${n++}`), Buffer.alloc(size, 1));
    } catch {
      size = Math.floor(size / 2);
    }
  }
}
