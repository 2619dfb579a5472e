import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { NodeProcess } from '../../loadtest/node-process.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import { ChaosCluster } from '../chaos/cluster.ts';
import { RedisServers } from '../chaos/redis-servers.ts';
import { eventually } from '../eventually.ts';

/** The smallest access list that works, as README has it. */
const [, ACL] = /ACL SETUSER dpd on >SECRET ([^\n]+)\n/.exec(
  readFileSync(new URL('../../README.md', import.meta.url), 'utf8'),
)!;

const VAULT_KEY = randomBytes(32).toString('base64');

describe('a Redis of somebody else’s', { timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-acl-'));
  let redis: RedisServers;
  const started: NodeProcess[] = [];

  const allow = (acl: string) =>
    redis.servers[0]!.command('acl', 'setuser', 'dpd', 'reset', 'on', '>SECRET', ...acl.split(' '));
  /** A node as the user `dpd` with this access list. */
  const start = async (acl: string, n = started.length): Promise<NodeProcess> => {
    await allow(acl);
    const node = await NodeProcess.start(`unix:${join(directory, `${n}.sock`)}`, {
      REDIS_URL: redis.url.replace('//', '//dpd:SECRET@'),
      DPD_VAULT_KEY: VAULT_KEY,
      DPD_NODE_ID: `node-${n}`,
      DPD_THREADS: '1',
    });
    started.push(node);
    return node;
  };
  const refusal = (acl: string) =>
    start(acl).then(
      () => assert.fail('it started'),
      (error: Error) => {
        assert(error instanceof SettingsError, error.message);
        return error.message;
      },
    );

  before(async () => {
    redis = await RedisServers.single();
  });
  after(async () => {
    for (const node of started) await node.stop('SIGKILL');
    await redis?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('the access list in README is enough for all that there is to do', async (t) => {
    await allow(ACL!);
    const cluster = new ChaosCluster(redis.url.replace('//', '//dpd:SECRET@'), {
      LOG_LEVEL: 'debug',
      DPD_VAULT_KEY: VAULT_KEY,
    });
    t.after(() => cluster.stop());
    await cluster.startNode('one');
    const hub = await cluster.startHeadend('hub-a', 20);
    await cluster.everyoneProbed(20_000);
    for (const spoke of [1, 2, 3]) hub.responder.kill(spoke, 0);
    await eventually('the dead are found', 20_000, () => cluster.deadOf(hub).length === 3);
    // One more node, and a clean stop, which hands over.
    await cluster.startNode('two');
    await cluster.nodes.get('one')!.stop('SIGTERM');
    await cluster.everyoneProbed(20_000);
    for (const node of cluster.nodes.values()) assert.doesNotMatch(node.log, /NOPERM|can't run/);
  });

  for (const [missing, without, line] of [
    ['INFO', '-info', /^redis-url: this user may not run info$/m],
    ['scripts', '-@scripting', /^redis-url: this user may not run eval$/],
    ['the channel', 'resetchannels', /^redis-url: this user may not use the channel dpd:bus$/],
    ['the queue’s keys', 'resetkeys ~dpd:*', /^redis-url: this user may not use the keys \{dpd-queue\}:\*$/],
    ['writing', '-@write', /^redis-url: this user may not run hset, .*run del, .*run xadd/],
  ] as const)
    test(`without ${missing} a node does not start, and says what is missing`, async () => {
      assert.match(await refusal(`${ACL} ${without}`), line);
    });

  test('a wrong password, or none, is one line', async () => {
    const url = (login: string) => redis.url.replace('//', `//${login}`);
    const attempt = (login: string) =>
      NodeProcess.start(`unix:${join(directory, 'x.sock')}`, { REDIS_URL: url(login), DPD_VAULT_KEY: 'x' });
    await assert.rejects(attempt('dpd:WRONG@'), /^SettingsError: redis-url redis:\/\/127\.0\.0\.1:\d+: WRONGPASS/);
  });

  test('another vault key than the one that IKE keys there are sealed with is refused', async () => {
    const attempt = NodeProcess.start(`unix:${join(directory, 'v.sock')}`, {
      REDIS_URL: redis.url,
      DPD_VAULT_KEY: randomBytes(32).toString('base64'),
    });
    await assert.rejects(attempt, /not the key that IKE keys in this Redis are sealed with/);
  });

  test('a replica is refused', async () => {
    const other = await RedisServers.single();
    try {
      await other.servers[0]!.command('replicaof', '127.0.0.1', String(redis.servers[0]!.port));
      const attempt = NodeProcess.start(`unix:${join(directory, 'r.sock')}`, {
        REDIS_URL: other.url,
        DPD_VAULT_KEY: randomBytes(32).toString('base64'),
      });
      await assert.rejects(attempt, /the server is a replica, and its master is needed/);
    } finally {
      await other.stop();
    }
  });

  test('a server that may lose or throw away what it has is warned of', async () => {
    const [server] = redis.servers;
    await server!.command('config', 'set', 'maxmemory-policy', 'allkeys-lru');
    await server!.command('config', 'set', 'appendonly', 'no');
    const node = await start(ACL!);
    await eventually('both are told', 5_000, () =>
      [/maxmemory-policy allkeys-lru may throw SAs away/, /no append-only file/].every((line) => line.test(node.log)),
    );
  });
});
