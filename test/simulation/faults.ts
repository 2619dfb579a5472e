/** What goes wrong in the simulation, and how it is put right again. Times are virtual ms. */

import { shardOfSa } from './headend/headend.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** A failover of Redis loses at most the writes of this time, ms: a replica that is further behind is not promoted. */
const MOST_LOST_MS = 9_500;

/** Causes a fault; returns how it ends and after how long, or undefined if it ends by itself. */
type Fault = (world: World, random: Random) => { afterMs: number; undo: () => void } | undefined;

export const FAULTS: Readonly<Record<string, Fault>> = {
  'node crashes'(world, random) {
    const node = random.pick(world.nodes);
    if (!node.process.alive) return undefined;
    world.crash(node);
    return { afterMs: random.between(500, 40_000), undo: () => void world.boot(node) };
  },
  'node is suspended'(world, random) {
    const { process } = random.pick(world.nodes);
    world.time.suspend(process, world.time.now + random.between(1_000, 70_000));
    return undefined;
  },
  'thread stalls'(world, random) {
    const tasks = world.nodes.flatMap((node) => [...node.tasks].filter(({ running }) => running));
    if (tasks.length > 0) random.pick(tasks).stall(world.time.now + random.between(500, 25_000));
    return undefined;
  },
  'thread crashes'(world, random) {
    const tasks = world.nodes.flatMap((node) => [...node.tasks].filter(({ running }) => running));
    if (tasks.length > 0) random.pick(tasks).crash();
    return undefined;
  },
  'node drains'(world, random) {
    const { process, cluster } = random.pick(world.nodes);
    if (!process.alive || !cluster) return undefined;
    void cluster.setDraining(true, 5_000).catch(() => {});
    return {
      afterMs: random.between(5_000, 30_000),
      undo: () => process.alive && void cluster.setDraining(false, 0).catch(() => {}),
    };
  },
  'clock steps'(world, random) {
    random.pick(world.nodes).process.skewMs += random.between(-3_600_000, 3_600_000);
    return undefined;
  },
  'agent crashes'(world, random) {
    const agent = random.pick(world.agents);
    if (!agent.process.alive) return undefined;
    world.crashAgent(agent);
    return { afterMs: random.between(200, 60_000), undo: () => world.bootAgent(agent) };
  },
  'agent and node apart'(world, random) {
    const pair = `${random.pick(world.agents).process.name} ${random.pick(world.nodes).name}`;
    world.apart.add(pair);
    return { afterMs: random.between(1_000, 40_000), undo: () => world.apart.delete(pair) };
  },
  'node without Redis'(world, random) {
    const { process } = random.pick(world.nodes);
    world.withoutRedis.add(process);
    return { afterMs: random.between(1_000, 60_000), undo: () => world.withoutRedis.delete(process) };
  },
  'node without spokes'(world, random) {
    const { process } = random.pick(world.nodes);
    world.withoutSpokes.add(process);
    return { afterMs: random.between(1_000, 15_000), undo: () => world.withoutSpokes.delete(process) };
  },
  'Redis down'(world, random) {
    world.redis.up = false;
    return {
      afterMs: random.between(500, 60_000),
      undo: () => {
        world.redis.up = true;
      },
    };
  },
  'Redis fails over'(world, random) {
    const since = world.time.now - random.between(0, random.chance(0.3) ? MOST_LOST_MS : 1_500);
    world.redis.up = false;
    return {
      afterMs: random.between(500, 5_000),
      undo: () => {
        // Another fault may have brought it back for a while: what was written then is lost, too, within the bound.
        world.redis.model.loseLast(Math.min(world.time.now - since, MOST_LOST_MS));
        world.redis.up = true;
      },
    };
  },
  'Redis comes back empty'(world, random) {
    if (!random.chance(0.2)) return undefined;
    world.redis.up = false;
    return {
      afterMs: random.between(500, 5_000),
      undo: () => {
        world.redis.model.flush();
        world.redis.up = true;
      },
    };
  },
  'Redis slow'(world, random) {
    world.redis.slowMs = random.between(100, 2_000);
    return {
      afterMs: random.between(1_000, 20_000),
      undo: () => {
        world.redis.slowMs = 0;
      },
    };
  },
  'Redis full'(world, random) {
    world.redis.model.full = true;
    return {
      afterMs: random.between(1_000, 30_000),
      undo: () => {
        world.redis.model.full = false;
      },
    };
  },
  'datagrams lost and doubled'(world, random) {
    world.loss = random.between(0, 0.2);
    world.duplication = random.between(0, 0.2);
    return {
      afterMs: random.between(5_000, 60_000),
      undo: () => {
        world.loss = 0;
        world.duplication = 0;
      },
    };
  },
  'rules vanish'(world, random) {
    const { headend } = random.pick(world.agents);
    headend.rulesUp = false;
    return {
      afterMs: random.between(500, 20_000),
      undo: () => {
        headend.rulesUp = true;
      },
    };
  },
  'answers do not come in'(world, random) {
    const { headend } = random.pick(world.agents);
    // One without rules vouches for both directions.
    if (!headend.closed) return undefined;
    headend.inwardDown = true;
    return {
      afterMs: random.between(500, 20_000),
      undo: () => {
        headend.inwardDown = false;
      },
    };
  },
  'headend cut off'(world, random) {
    const { name } = random.pick(world.agents).headend;
    world.cut.add(name);
    world.updateReach();
    return {
      afterMs: random.between(2_000, 60_000),
      undo: () => {
        world.cut.delete(name);
        world.updateReach();
      },
    };
  },
};

/** Actions of spokes, with or without faults. */
export const LIFE: Readonly<Record<string, (world: World, random: Random) => void>> = {
  dies(world, random) {
    const site = random.pick(world.spokes.sites);
    site.up.fill(false);
    world.updateReach();
  },
  'loses an endpoint'(world, random) {
    const site = random.pick(world.spokes.sites);
    site.up[random.integer(0, site.up.length - 1)] = false;
    world.updateReach();
  },
  'comes back'(world, random) {
    const site = random.pick(world.spokes.sites);
    site.up.fill(true);
    world.updateReach();
  },
  rekeys(world, random) {
    const site = random.pick(world.spokes.sites);
    const { sa } = site;
    const { headend } = world.agents.find((agent) => agent.headend.name === site.headend)!;
    if (sa && sa.deadMs === undefined) headend.establish(site, sa.endpoint);
  },
  'its headend has something to say'(world, random) {
    const site = random.pick(world.spokes.sites);
    const { headend } = world.agents.find((agent) => agent.headend.name === site.headend)!;
    if (site.sa && headend.closed) world.daemons.request(headend, site.sa, shardOfSa(site.sa, headend.shards));
  },
  roams(world, random) {
    const site = random.pick(world.spokes.sites);
    const { sa } = site;
    if (!sa || sa.deadMs !== undefined) return;
    const endpoint = sa.endpoint;
    const { headend } = world.agents.find((agent) => agent.headend.name === site.headend)!;
    const port = random.integer(1_024, 60_000);
    site.ports[endpoint] = port;
    sa.lossMs = world.time.now;
    // The headend sees it with the next packet.
    world.time.at(world.time.now + random.between(10, 1_000), undefined, () => headend.roamed(site, endpoint));
  },
};
