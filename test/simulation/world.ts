/** The simulated world: nodes, agents, spokes and Redis, joined by a network; everything drawn from one seed. */

import { create } from '@bufbuild/protobuf';
import { Action, Mode, PolicySchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../../services/agent/agent.ts';
import { createLogger, type Logger } from '../../services/base/log.ts';
import { Pursuer } from '../../services/failover/reconciler.ts';
import { Concentrator } from '../../services/node/cluster/cluster-node.ts';
import { Sites } from '../../services/node/records/sites.ts';
import { StormGuard } from '../../services/node/verdicts/storm-guard.ts';
import type { Word } from '../../services/store/cluster/bus.ts';
import { type ShardId, shardKeys } from '../../services/store/keys.ts';
import { SuspicionTraces } from '../../services/telemetry/traces.ts';
import { Vault } from '../../workers/keys/vault.ts';
import { Checks, detectionMs } from './checks.ts';
import { SimHeadend, shardOfSa } from './headend/headend.ts';
import { Random } from './random.ts';
import { RedisModel } from './redis/redis-model.ts';
import { SimRedis } from './redis/sim-redis.ts';
import { SimTask, type TaskWorld } from './sim-task.ts';
import { type Site, Spokes, type TrueSa } from './spokes.ts';
import { SimStream } from './streams.ts';
import { EPOCH_UNIX, Process, VirtualTime } from './virtual-time.ts';

const STREAM_CHECK_MS = 500;
/** A failover worker that died is missed after this, ms. */
const STALLED_MS = 10_000;
const REDIAL_MS = 15_000;
const RESTART_MS = 1_000;
const FAILOVER_DEADLINE_MS = 300_000;
const VAULT = new Vault(Buffer.alloc(32, 7));
const TRACES = new SuspicionTraces();

export type SimNode = {
  readonly name: string;
  process: Process;
  concentrator: Concentrator | undefined;
  pursuer: Pursuer | undefined;
  readonly tasks: Set<SimTask>;
};

export type SimAgent = { readonly headend: SimHeadend; process: Process; agent: Agent | undefined };

/** Whose shard a task watches, and its lease's key. */
type Watched = { readonly headend: SimHeadend; readonly lease: string };

type Job = { readonly id: ShardId; readonly shards: number; runner: Process | undefined };

export class World implements TaskWorld {
  readonly time = new VirtualTime();
  readonly #supervisor = this.time.clockOf(new Process('supervisor'));
  readonly vault = VAULT;
  readonly random: Random;
  readonly checks: Checks;
  readonly spokes: Spokes;
  readonly nodes: SimNode[] = [];
  readonly agents: SimAgent[] = [];
  readonly redis: SimRedis;
  readonly streams = new Set<SimStream>();
  /** Datagrams lost and doubled, shares. */
  loss = 0;
  duplication = 0;
  /** Processes that cannot reach Redis; spokes; and pairs that cannot reach each other. */
  readonly withoutRedis = new Set<Process>();
  readonly withoutSpokes = new Set<Process>();
  readonly apart = new Set<string>();
  /** Headends all of whose sites are out of reach. */
  readonly cut = new Set<string>();
  readonly fillRandom: TaskWorld['fillRandom'];
  readonly #log: Logger;
  readonly #listeners = new Map<Process, (word: Word) => void>();
  readonly #jobs = new Map<string, Job>();
  readonly #watched = new WeakMap<SimTask, Watched>();
  #ports = 20_000;

  constructor(seed: number, logLevel = 'silent') {
    this.random = new Random(seed);
    this.fillRandom = new Random(seed ^ 0x5bd1e995).fill;
    this.#log = createLogger('simulation', logLevel);
    this.checks = new Checks(this.time);
    this.spokes = new Spokes(new Random(seed ^ 0x27d4eb2f));
    const model = new RedisModel(() => EPOCH_UNIX + Math.floor(this.time.now));
    this.redis = new SimRedis(this.time, this.random, model, (process) => !this.withoutRedis.has(process), {
      taken: (lease, { name }, epoch) => this.checks.taken(lease, name, epoch),
      wrote: (lease, { name }) => this.checks.wrote(lease, name, String(model.hget(lease, 'node'))),
    });
  }

  /** Builds a cluster of random shape and lets it settle. */
  async start(): Promise<void> {
    const { random } = this;
    for (let n = 0, nodes = random.integer(2, 3); n < nodes; n++)
      this.nodes.push({
        name: `node-${n}`,
        process: new Process(`node-${n}`),
        concentrator: undefined,
        pursuer: undefined,
        tasks: new Set(),
      });
    for (let n = 0, headends = random.integer(1, 2); n < headends; n++) {
      const headend = new SimHeadend(this, random, `hub-${n}`, n, random.integer(1, 2), random.chance(0.3));
      for (let k = 0, sites = random.integer(3, 8); k < sites; k++) this.#addSite(headend);
      this.agents.push({ headend, process: new Process(`agent-${n}`), agent: undefined });
    }
    await Promise.all([...this.nodes.map((node) => this.boot(node)), this.time.runUntil(2_000)]);
    for (const agent of this.agents) this.bootAgent(agent);
    this.time.at(this.time.now, undefined, () => this.#checkStreams());
    this.time.at(this.time.now, undefined, () => this.#redial());
  }

  /** Starts a node, for the first time or again: one that cannot, as Redis is away, ends, and its supervisor tries again. */
  async boot(node: SimNode): Promise<void> {
    for (;;)
      try {
        return await this.#start(node);
      } catch {
        this.crash(node);
        await this.#supervisor.sleep(RESTART_MS);
      }
  }

  async #start(node: SimNode): Promise<void> {
    const process = new Process(node.name, node.process.skewMs);
    node.process = process;
    node.tasks.clear();
    const clock = this.time.clockOf(process);
    const redis = this.redis.clientOf(process);
    const sites = new Sites();
    const log = this.#log.child({ node: node.name });
    const storm = new StormGuard({ share: 0.6, count: 4, windowMs: 10_000 }, clock, (site) => sites.name(site));
    const context = {
      store: { redis, node: node.name, replicated: undefined },
      joinBus: async (hear: (word: Word) => void) => this.#joinBus(process, hear),
      clock,
      traces: TRACES,
      log,
      sites,
      storm,
      hold: { longestMs: 60_000, onExpiry: 'release', releasePerSecond: 50 },
      wakeFailover: (id: ShardId, shards: number) => this.#wake(id, shards),
      probeAddress: '127.0.0.1',
      probeAdvertised: '',
      probePortBase: 0,
      maxPeers: 1_000,
      headendPeers: 1_000,
      advertised: () => node.name,
      startTask: (_probe: unknown, onEvent: ConstructorParameters<typeof SimTask>[3]) => {
        const task = new SimTask(this, process, this.#ports++, onEvent);
        node.tasks.add(task);
        return task;
      },
    } as const;
    const concentrator = await Concentrator.start(context);
    node.pursuer = new Pursuer({
      redis,
      bus: concentrator.bus,
      clock,
      log,
      limits: { deadlineMs: FAILOVER_DEADLINE_MS },
    });
    node.concentrator = concentrator;
    await concentrator.join();
  }

  /** The node dies: nothing of it runs any more. */
  crash(node: SimNode): void {
    node.process.alive = false;
    node.concentrator = undefined;
    node.pursuer = undefined;
    for (const task of node.tasks) task.running = false;
    node.tasks.clear();
    this.#listeners.delete(node.process);
    for (const stream of this.streams) if (stream.node === node.process) this.#breakSoon(stream, 'connection reset');
  }

  bootAgent(sim: SimAgent): void {
    const { headend } = sim;
    sim.process = new Process(sim.process.name);
    const clock = this.time.clockOf(sim.process);
    const plane = headend.plane(clock);
    const { process } = sim;
    sim.agent = new Agent(
      { headend: headend.name, shards: headend.shards, addresses: this.nodes.map(({ name }) => name) },
      plane,
      {
        channels: { open: (address) => this.#connect(process, address), close: () => {} },
        log: this.#log.child({ agent: process.name }),
        clock,
        random: this.random.unit,
      },
    );
    void plane.start(sim.agent);
    this.time.settled();
  }

  crashAgent(sim: SimAgent): void {
    sim.process.alive = false;
    sim.agent = undefined;
    sim.headend.detach();
    for (const stream of this.streams) if (stream.agent === sim.process) this.#breakSoon(stream, 'agent died');
  }

  /** Whether a site is cut off together with all others of its headend. */
  cutOff(site: Site): boolean {
    return this.cut.has(site.headend);
  }

  /** Notes what changed about who can be reached. */
  updateReach(): void {
    for (const { sa, up } of this.spokes.sites) {
      if (!sa) continue;
      const reachable = up[sa.endpoint] === true && !this.cutOff(sa.site);
      if (reachable && sa.deadMs !== undefined) {
        sa.deadMs = undefined;
        sa.revivedMs = this.time.now;
      } else if (!reachable) sa.deadMs ??= this.time.now;
    }
  }

  /** What is wrong although faults have long stopped. */
  async problems(): Promise<string[]> {
    const problems: string[] = [];
    for (const { headend, agent } of this.agents) {
      if (!agent?.settled) problems.push(`${headend.name} is not settled`);
      for (const site of headend.sites) {
        const { sa } = site;
        if (!site.up.some(Boolean)) {
          if (sa) problems.push(`${site.name} is dead since ${this.time.now - (sa.deadMs ?? 0)} ms and not torn down`);
          continue;
        }
        if (!sa || sa.deadMs !== undefined) {
          problems.push(`${site.name} could be reached, but has ${sa ? 'a dead' : 'no'} SA`);
          continue;
        }
        const shard = shardOfSa(sa, headend.shards);
        const hosts = this.nodes.flatMap(({ concentrator }) =>
          (concentrator?.shards.of(headend.name) ?? []).filter(({ id }) => id.shard === shard),
        );
        if (hosts.length !== 1) problems.push(`${headend.name}/${shard} has ${hosts.length} hosts`);
        else if (hosts[0]!.records.findHex(sa.spi) < 0) problems.push(`${site.name} is not watched`);
      }
      for (let shard = 0; shard < headend.shards; shard++) {
        const keys = shardKeys({ headend: headend.name, shard });
        const open = this.redis.model.hash(keys.failover).size;
        const possible = headend.sites.every(({ up }) => up.some(Boolean));
        if (open > 0 && possible)
          problems.push(
            `${headend.name}/${shard} has ${open} failovers under way: ${[...this.redis.model.hash(keys.pursuits)]} ` +
              `acks ${[...this.redis.model.hash(keys.acks)]} due ${[...this.redis.model.set(keys.due)]}`,
          );
        const hosts = this.nodes.flatMap(({ concentrator }) => concentrator?.shards.of(headend.name) ?? []);
        const held = hosts.find(({ id }) => id.shard === shard)?.records.set.count ?? 0;
        const known = this.redis.model.hash(keys.sas).size;
        if (known !== held) problems.push(`Redis holds ${known} SAs of ${headend.name}/${shard}, its owner ${held}`);
      }
    }
    return problems;
  }

  // What a task asks of the world.

  send(task: SimTask, datagram: Buffer, address: number, port: number): void {
    const { time, random } = this;
    const kind = address >>> 24;
    if (kind === 11) {
      const headend = this.agents[address & 255]!.headend;
      time.at(time.now + random.between(0.5, 3), undefined, () => headend.canary(datagram));
      return;
    }
    const { headend, lease } = this.#watchedBy(task)!;
    this.checks.probed(lease, task, headend.closed);
    if (headend.closed) {
      // The guard marker that the rule clears; without the rule it is no IKE message.
      if (!headend.rulesUp) return;
      datagram.writeUInt32BE(0, 0);
    }
    const truth = this.spokes.find(datagram);
    if (!truth) return;
    this.#travel(task, truth, () => {
      const site = truth.site;
      const endpoint = (address >>> 16) & 255;
      if (site.sa !== truth || truth.endpoint !== endpoint) return;
      if (truth.deadMs !== undefined) return;
      if (site.ports[endpoint] !== port) {
        truth.lossMs = time.now;
        return;
      }
      const answer = this.spokes.answer(truth, datagram);
      if (!answer) return;
      this.#travel(task, truth, () => this.#arrive(task, truth, answer));
    });
  }

  verdicts(task: SimTask, handles: readonly number[]): void {
    const rightful = this.#owns(task);
    for (const handle of handles) {
      const truth = this.spokes.bySpi.get(task.spis.get(handle)!);
      if (truth) this.checks.decided(truth, rightful);
    }
  }

  evidence(task: SimTask, handle: number, atMs: number): void {
    const truth = this.spokes.bySpi.get(task.spis.get(handle)!);
    if (truth && this.#owns(task)) truth.heardMs = Math.max(truth.heardMs, atMs);
  }

  #arrive(task: SimTask, truth: TrueSa, answer: Buffer): void {
    const { time } = this;
    time.at(time.now, task.process, () => {
      if (!task.running) truth.lossMs = time.now;
      else
        task.whenAwake(() => {
          if (task.receive(answer) && this.#owns(task)) truth.heardMs = time.now;
        });
    });
  }

  #travel(task: SimTask, truth: TrueSa, arrive: () => void): void {
    const { time, random } = this;
    if (random.chance(this.loss) || this.withoutSpokes.has(task.process)) {
      truth.lossMs = time.now;
      return;
    }
    const copies = random.chance(this.duplication) ? 2 : 1;
    for (let n = 0; n < copies; n++) time.at(time.now + random.between(2, 40), undefined, arrive);
  }

  #owns(task: SimTask): boolean {
    const { process, stopping } = task;
    const watched = this.#watchedBy(task);
    const owner = watched && this.redis.model.hget(watched.lease, 'node');
    return process.alive && !stopping && String(owner) === process.name;
  }

  /** undefined before the task has had an SA. */
  #watchedBy(task: SimTask): Watched | undefined {
    const known = this.#watched.get(task);
    if (known) return known;
    // All SAs of a task are of one shard.
    const truth = this.spokes.bySpi.get(task.spis.values().next().value ?? '');
    const headend = this.agents.find(({ headend: { name } }) => name === truth?.site.headend)?.headend;
    if (!truth || !headend) return undefined;
    const { lease } = shardKeys({ headend: headend.name, shard: shardOfSa(truth, headend.shards) });
    const watched = { headend, lease };
    this.#watched.set(task, watched);
    return watched;
  }

  // Streams, bus and jobs.

  #connect(agent: Process, address: string) {
    const node = this.nodes.find(({ name }) => name === address)!;
    const { process, concentrator } = node;
    const pair = `${agent.name} ${node.name}`;
    const stream = new SimStream(this.time, this.random, agent, process, () => !this.apart.has(pair));
    this.streams.add(stream);
    this.time.at(this.time.now + this.random.between(1, 5), undefined, () => {
      if (!process.alive || !concentrator) stream.break('connection refused');
      else if (!this.apart.has(pair)) stream.serve(concentrator, this.#log);
    });
    return stream.uplink();
  }

  #breakSoon(stream: SimStream, reason: string): void {
    const pair = `${stream.agent.name} ${stream.node.name}`;
    // Into a partition nobody sends a reset: keepalive finds out.
    if (!this.apart.has(pair)) stream.break(reason);
  }

  #checkStreams(): void {
    for (const stream of this.streams) {
      stream.check();
      if (!stream.open) this.streams.delete(stream);
    }
    this.time.at(this.time.now + STREAM_CHECK_MS, undefined, () => this.#checkStreams());
  }

  #joinBus(process: Process, hear: (word: Word) => void) {
    this.#listeners.set(process, hear);
    return {
      say: (word: Word) => {
        if (!this.redis.up || this.withoutRedis.has(process)) return;
        for (const [listener, tell] of this.#listeners)
          if (!this.withoutRedis.has(listener))
            this.time.at(this.time.now + this.random.between(0.5, 2), listener, () => {
              this.time.settled();
              tell(word);
            });
      },
      close: () => void this.#listeners.delete(process),
    };
  }

  /** The queue of failovers: at least once, by any node that lives, again if that one dies. */
  #wake(id: ShardId, shards: number): void {
    const key = `${id.headend}/${id.shard}`;
    if (this.#jobs.has(key)) return;
    const job: Job = { id, shards, runner: undefined };
    this.#jobs.set(key, job);
    this.#runJob(key, job, this.time.now + 1);
  }

  #runJob(key: string, job: Job, at: number): void {
    this.time.at(at, undefined, () => {
      const able = this.nodes.filter(({ process, pursuer }) => pursuer && process.alive);
      if (able.length === 0) return this.#runJob(key, job, this.time.now + 1_000);
      const { process, pursuer } = this.random.pick(able);
      job.runner = process;
      const finish = (again: number | undefined) => {
        if (job.runner !== process) return;
        job.runner = undefined;
        if (again === undefined) this.#jobs.delete(key);
        else this.#runJob(key, job, this.time.now + Math.max(again, 1));
      };
      pursuer!.run(job.id, job.shards).then(finish, () => finish(500));
      this.time.settled();
      const stalled = () => {
        if (job.runner !== process) return;
        if (process.alive && process.pausedUntil <= this.time.now)
          this.time.at(this.time.now + STALLED_MS, undefined, stalled);
        else {
          job.runner = undefined;
          this.#runJob(key, job, this.time.now);
        }
      };
      this.time.at(this.time.now + STALLED_MS, undefined, stalled);
    });
  }

  /** Sites that can reach their headend and have no SA dial in. */
  #redial(): void {
    for (const { headend } of this.agents)
      for (const site of headend.sites) {
        const endpoint = site.up.indexOf(true);
        if (!site.sa && endpoint >= 0 && !this.cutOff(site) && this.random.chance(0.7))
          headend.establish(site, endpoint);
      }
    this.time.at(this.time.now + REDIAL_MS, undefined, () => this.#redial());
  }

  #addSite(headend: SimHeadend): void {
    const { random } = this;
    const endpoints = random.integer(1, 3);
    const policy = create(PolicySchema, {
      mode: random.pick([Mode.ON_IDLE, Mode.ON_IDLE, Mode.ON_IDLE, Mode.PERIODIC]),
      intervalMs: random.pick([5_000, 10_000, 20_000, 30_000, 60_000]),
      retryIntervalMs: random.pick([1_000, 2_000, 5_000]),
      retries: random.integer(2, 5),
      jitterPercent: random.pick([0, 10, 30]),
      action: endpoints > 1 ? Action.FAILOVER : Action.CLEAR,
    });
    const site = this.spokes.add(
      headend.name,
      policy,
      endpoints,
      random.pick(['', 'east', 'west']),
      random.chance(0.3),
    );
    headend.sites.push(site);
    headend.establish(site, 0);
  }

  /** Longest detection time of all policies, ms. */
  get detectionMs(): number {
    return Math.max(...this.spokes.sites.map(({ policy }) => detectionMs(policy)));
  }
}
