import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { eventually } from '../eventually.ts';
import { RedisServers } from './redis-servers.ts';

/** Enough for some to look for the master in the moment in which the failover is announced. */
const CONNECTIONS = 200;

test('a failover ends no connection for good, whatever it is doing when the failover is announced', async (t) => {
  const servers = await RedisServers.sentinel();
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => connectRedis(servers.url)));
  t.after(async () => {
    for (const connection of connections) connection.disconnect();
    await servers.stop();
  });
  const [master, replica, sentinel] = servers.servers;
  await sentinel!.command('SENTINEL', 'FAILOVER', 'mymaster');
  // Thrown out again and again, some connections are always looking for the master.
  await eventually('the replica takes over', 20_000, async () => {
    await master!.command('CLIENT', 'KILL', 'TYPE', 'normal').catch(() => {});
    const [, port] = (await sentinel!.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'mymaster')) as string[];
    return Number(port) === replica!.port;
  });
  const useless = async () => {
    const answers = await Promise.allSettled(connections.map((connection, n) => connection.set(`key-${n}`, n)));
    return connections.filter((_, n) => answers[n]!.status === 'rejected').map(({ status }) => status);
  };
  await eventually('all work again', 20_000, async () => (await useless()).length === 0).catch(() => {});
  assert.deepEqual(await useless(), []);
});
