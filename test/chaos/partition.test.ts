import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../eventually.ts';
import { ChaosCluster, DETECTION_MS, peerIds } from './cluster.ts';
import { inOwnNamespaces, run } from './own-namespaces.ts';
import { RedisServers } from './redis-servers.ts';

/** Four shards: each has one or two. */
const NODES = ['one', 'two', 'three'];
const SPOKES = 200;

/** Nodes in namespaces of their own, each on a cable; Redis, agents and spokes at the other ends. */
class Cables {
  /** Where Redis and the spokes of this cluster are. */
  readonly centre: string;
  readonly #net: number;

  private constructor(net: number) {
    this.#net = net;
    this.centre = `10.${net}.0.1`;
  }

  static async lay(net: number): Promise<Cables> {
    const cables = new Cables(net);
    await run('ip', 'address', 'add', `${cables.centre}/32`, 'dev', 'lo');
    for (const name of NODES) {
      const [space, here, there, gateway] = [
        cables.#space(name),
        cables.#cable(name),
        cables.address(name),
        `10.${net}.${NODES.indexOf(name) + 1}.1`,
      ];
      await run('ip', 'netns', 'add', space);
      await run('ip', 'link', 'add', here, 'type', 'veth', 'peer', 'eth0', 'netns', space);
      await run('ip', 'address', 'add', `${gateway}/24`, 'dev', here);
      await run('ip', 'link', 'set', here, 'up');
      const inside = (...args: string[]) => run('ip', '-netns', space, ...args);
      await inside('link', 'set', 'lo', 'up');
      await inside('address', 'add', `${there}/24`, 'dev', 'eth0');
      await inside('link', 'set', 'eth0', 'up');
      await inside('route', 'add', 'default', 'via', gateway);
    }
    return cables;
  }

  address(name: string): string {
    return `10.${this.#net}.${NODES.indexOf(name) + 1}.2`;
  }

  node(name: string) {
    const address = this.address(name);
    const env = { DPD_PROBE_ADDRESS: address, DPD_ADVERTISE: `${address}:7000`, DPD_ALLOW_PLAINTEXT: 'true' };
    return { address: `${address}:7000`, env, prefix: ['ip', 'netns', 'exec', this.#space(name)] };
  }

  /**
   * Drops the packets that a node sends; so it cannot answer either. Returns the function that undoes this.
   * @param what nft's matches; '': all
   */
  async cut(name: string, what = ''): Promise<() => Promise<void>> {
    const table = `cut_${this.#net}`;
    const rules = `table inet ${table} {
      chain in { type filter hook input priority 0; iifname "${this.#cable(name)}" ${what} drop; }
    }`;
    await run('nft', rules);
    return () => run('nft', 'delete', 'table', 'inet', table);
  }

  #space(name: string): string {
    return `n${this.#net}-${name}`;
  }

  #cable(name: string): string {
    return `c${this.#net}-${name}`;
  }
}

async function start(t: { after(done: () => Promise<void>): void }, net: number) {
  const cables = await Cables.lay(net);
  const redis = await RedisServers.single(['--bind', '0.0.0.0', '--protected-mode', 'no']);
  const url = redis.url.replace('127.0.0.1', cables.centre);
  const cluster = new ChaosCluster(
    url,
    {},
    {
      node: (name) => cables.node(name),
      spokes: () => [cables.centre, cables.centre],
    },
  );
  t.after(async () => {
    await cluster.stop();
    await redis.stop();
  });
  await Promise.all(NODES.map((name) => cluster.startNode(name)));
  const hub = await cluster.startHeadend('hub-a', SPOKES);
  await cluster.everyoneProbed(20_000);
  /** Spokes that are with a node, by number. */
  const spokesOf = async (name: string) => {
    const shards = new Set((await cluster.counters(name)).map(({ shard }) => shard));
    return Array.from({ length: SPOKES }, (_, spoke) => spoke).filter((spoke) =>
      shards.has(cluster.shardOf(hub, spoke)),
    );
  };
  return { cables, redis, cluster, hub, spokesOf };
}

await inOwnNamespaces('partitions, on cables between namespaces', import.meta.url, () => {
  describe('a node is cut off', { concurrency: true, timeout: 240_000 }, () => {
    test('from everybody: its shards go elsewhere, the dead are found, and it publishes nothing stale', async (t) => {
      const { cables, cluster, hub, spokesOf } = await start(t, 201);
      const dead = (await spokesOf('two')).slice(0, 3);
      const heal = await cables.cut('two');
      for (const spoke of dead) hub.responder.kill(spoke, 0);
      await eventually('the dead are found', DETECTION_MS + 20_000, () => cluster.deadOf(hub).length >= dead.length);
      await sleep(10_000);
      const told = hub.verdicts.length;
      await heal();
      await cluster.everyoneProbed(20_000);
      await sleep(2 * DETECTION_MS);
      assert.deepEqual(cluster.deadOf(hub), peerIds(dead));
      assert.equal(hub.verdicts.length, told, 'a verdict of before the partition');
    });

    test('from Redis alone: it goes on, and its verdicts come when it is back', async (t) => {
      const { cables, redis, cluster, hub, spokesOf } = await start(t, 202);
      const dead = (await spokesOf('two')).slice(0, 3);
      const elsewhere = (await spokesOf('one')).slice(0, 2);
      const heal = await cables.cut('two', `tcp dport ${redis.servers[0]!.port}`);
      await sleep(5_000);
      for (const spoke of [...dead, ...elsewhere]) hub.responder.kill(spoke, 0);
      const answered = hub.responder.answered;
      await sleep(DETECTION_MS + 10_000);
      assert(hub.responder.answered - answered > SPOKES * 3, 'probing stood still');
      assert.deepEqual(cluster.deadOf(hub), peerIds(elsewhere));
      await heal();
      const all = peerIds([...dead, ...elsewhere]);
      await eventually('its verdicts come', 30_000, () => cluster.deadOf(hub).length >= all.length);
      await cluster.everyoneProbed(20_000);
      assert.deepEqual(cluster.deadOf(hub), all);
    });

    test('from the headend and its spokes alone: no canary is vouched for, so nobody is judged', async (t) => {
      const { cables, cluster, hub, spokesOf } = await start(t, 203);
      const heal = await cables.cut('two', 'meta l4proto udp');
      await sleep(2 * DETECTION_MS + 5_000);
      const counters = await cluster.counters('two');
      assert.equal(
        counters.reduce((sum, shard) => sum + shard.verdicts, 0n),
        0n,
      );
      assert.equal(hub.verdicts.length, 0);
      await heal();
      await cluster.everyoneProbed(20_000);
      await sleep(2 * DETECTION_MS);
      assert.equal(hub.verdicts.length, 0);
      // A spoke that dies alone is found as usual.
      const [lonely] = await spokesOf('two');
      hub.responder.kill(lonely!, 0);
      await eventually('it is found', DETECTION_MS + 5_000, () => cluster.deadOf(hub).length === 1);
    });
  });
});
