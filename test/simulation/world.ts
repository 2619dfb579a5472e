/** The simulated world: nodes, agents, spokes and Redis, joined by a network; everything drawn from one seed. */

import { create } from '@bufbuild/protobuf';
import { Action, Mode, PolicySchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../../services/agent/agent.ts';
import { shardOf } from '../../services/api/spi.ts';
import { createLogger, type Logger } from '../../services/base/log.ts';
import { FailoverReconciler } from '../../services/failover/reconciler.ts';
import { ClusterNode } from '../../services/node/cluster/cluster-node.ts';
import { Sites } from '../../services/node/records/sites.ts';
import { StormGuard } from '../../services/node/verdicts/storm-guard.ts';
import type { ClusterMessage } from '../../services/store/cluster/bus.ts';
import { type ShardId, shardKeys } from '../../services/store/keys.ts';
import { SuspicionTraces } from '../../services/telemetry/traces.ts';
import { Address, NOWHERE } from '../../workers/base/address.ts';
import { falseMarker, orderToDaemon } from '../../workers/ikev2/header.ts';
import { Vault } from '../../workers/keys/vault.ts';
import { Direction } from '../../workers/liveness/interlock.ts';
import { State } from '../../workers/liveness/peers.ts';
import { detectionMs } from '../../workers/liveness/schedule.ts';
import { type Canary, readCanary } from '../../workers/path/canary.ts';
import type { PeerStatus } from '../../workers/shard/protocol.ts';
import { NOTHING_REFUSED } from '../nothing-refused.ts';
import { TEST_MAC } from '../test-mac.ts';
import { Checks } from './checks.ts';
import { Daemons } from './headend/daemons.ts';
import { CANARY_PORT, canaryAddress, SimHeadend, shardOfSa } from './headend/headend.ts';
import { Random } from './random.ts';
import { RedisModel } from './redis/redis-model.ts';
import { SimRedis } from './redis/sim-redis.ts';
import { SimTask, type TaskWorld } from './sim-task.ts';
import { HUB, type Site, Spokes, type TrueSa } from './spokes.ts';
import { SimStream } from './streams.ts';
import { EPOCH_UNIX, Process, VirtualTime } from './virtual-time.ts';

const STREAM_CHECK_MS = 500;
/** A failover worker that died is noticed after this, ms. */
const STALLED_MS = 10_000;
const REDIAL_MS = 15_000;
const RESTART_MS = 1_000;
const FAILOVER_DEADLINE_MS = 300_000;
/** If nothing is known, message ids below this one are tried every other time. */
const FOUND_SOON = 8;
/** A request of a headend's daemon is answered within this where nothing is wrong, ms: it is repeated after 42 s at most. */
const ANSWERED_MS = 100_000;
const VAULT = new Vault([Buffer.alloc(32, 7)]);
/** Where answers come from: a shard does not look. */
const SPOKE = { address: NOWHERE, port: 0 };
const TRACES = new SuspicionTraces();

export type SimNode = {
  readonly name: string;
  process: Process;
  cluster: ClusterNode | undefined;
  reconciler: FailoverReconciler | undefined;
  readonly tasks: Set<SimTask>;
};

export type SimAgent = { readonly headend: SimHeadend; process: Process; agent: Agent | undefined };

/** The headend and shard that a task watches, and the key of its lease. */
type Watched = { readonly headend: SimHeadend; readonly lease: string };

type Job = { readonly id: ShardId; runner: Process | undefined; turn: number };

/** Seeds from here on also have policies with unusual schedules, modes and actions. */
const EVERY_KIND = 1_000_000;
/** Retry schedules as vendors have them, but faster. */
const SCHEDULES = [
  { retryIntervalMs: 1_000, retries: 5, retryFactorPercent: 180 },
  { retryIntervalMs: 2_000, retries: 6, retryFactorPercent: 200, retryLimitMs: 8_000 },
  { retryIntervalMs: 0, retries: 0, retryScheduleMs: [3_000, 6_000, 12_000, 24_000] },
  { retryIntervalMs: 0, retries: 0, retryScheduleMs: [500, 1_000, 2_000, 4_000, 8_000] },
];

/** Members of a policy that no usual one has. A dead peer is noticed ON_DEMAND only if something is sent to it. */
function unusual(random: Random, busy: boolean): object {
  return {
    ...(random.chance(0.7) && random.pick(SCHEDULES)),
    ...(busy && random.chance(0.5) && { mode: Mode.ON_DEMAND }),
    ...(random.chance(0.2) && { intervalMs: random.pick([500, 1_000, 2_000]) }),
    ...(random.chance(0.3) && { action: Action.RESTART }),
    proveEveryMs: random.pick([0, 60_000, 120_000]),
  };
}

export class World implements TaskWorld {
  readonly #everyKind: boolean;
  readonly time = new VirtualTime();
  readonly #supervisor = this.time.clockOf(new Process('supervisor'));
  readonly vault = VAULT;
  readonly random: Random;
  readonly checks: Checks;
  readonly spokes: Spokes;
  readonly daemons: Daemons;
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
  readonly #listeners = new Map<Process, (message: ClusterMessage) => void>();
  readonly #jobs = new Map<string, Job>();
  readonly #watched = new WeakMap<SimTask, Watched>();
  #ports = 20_000;

  constructor(seed: number, logLevel = 'silent') {
    this.#everyKind = seed >= EVERY_KIND;
    this.random = new Random(seed);
    this.fillRandom = new Random(seed ^ 0x5bd1e995).fill;
    this.#log = createLogger('simulation', logLevel);
    this.checks = new Checks(this.time);
    this.spokes = new Spokes(new Random(seed ^ 0x27d4eb2f));
    this.daemons = new Daemons({
      time: this.time,
      spokes: this.spokes,
      owner: (headend, shard) => this.#ownerOf(headend, shard),
      misled: (truth, id) => this.checks.misled(truth, id),
    });
    const model = new RedisModel(() => EPOCH_UNIX + Math.floor(this.time.now));
    this.redis = new SimRedis(this.time, this.random, model, (process) => !this.withoutRedis.has(process), {
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
        cluster: undefined,
        reconciler: undefined,
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
      store: { redis, node: node.name, replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
      joinBus: async (onMessage: (message: ClusterMessage) => void) => this.#joinBus(process, onMessage),
      clock,
      vault: VAULT,
      traces: TRACES,
      log,
      sites,
      storm,
      hold: { longestMs: 60_000, smallMs: 20_000, onExpiry: 'release', releasePerSecond: 50 },
      wakeFailover: (id: ShardId, now = false) => this.#wake(id, now),
      probeAddress: '127.0.0.1',
      probeAddress6: undefined,
      probeAdvertised: { v4: '', v6: '' },
      probePortBase: 0,
      maxPeers: 1_000,
      outages: log,
      maxShards: 1_000,
      headendPeers: 1_000,
      defaultPolicy: undefined,
      loopback: false,
      advertised: () => node.name,
      startTask: ({ shard }: { readonly shard: number }, onEvent: ConstructorParameters<typeof SimTask>[3]) => {
        const task = new SimTask(this, process, { port: this.#ports++, shard }, onEvent);
        node.tasks.add(task);
        return task;
      },
    } as const;
    const cluster = await ClusterNode.start(context);
    node.reconciler = new FailoverReconciler({
      redis,
      mac: TEST_MAC,
      refused: NOTHING_REFUSED,
      bus: cluster.bus,
      clock,
      log,
      limits: { deadlineMs: FAILOVER_DEADLINE_MS },
    });
    node.cluster = cluster;
    await cluster.join();
  }

  /** The node dies: nothing of it runs any more. */
  crash(node: SimNode): void {
    node.process.alive = false;
    node.cluster = undefined;
    node.reconciler = undefined;
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

  /** The task that the rules of a headend name. */
  #ownerOf({ owners }: SimHeadend, shard: number): SimTask | undefined {
    for (const { tasks } of this.nodes)
      for (const task of tasks) if (task.running && task.port === owners[shard]) return task;
    return undefined;
  }

  /** Whether a site is cut off together with all others of its headend. */
  cutOff(site: Site): boolean {
    return this.cut.has(site.headend);
  }

  /** Notes which spokes can be reached now. */
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
        const status = sa && (await this.#statusOf(headend, sa));
        if (!site.up.some(Boolean)) {
          // A peer is not judged if its proof was lost with an owner, and it died before it answered the next owner.
          if (sa && status?.state !== State.UNPROVEN)
            problems.push(`${site.name} is dead since ${this.time.now - (sa.deadMs ?? 0)} ms and not torn down`);
          continue;
        }
        if (sa && sa.deadMs !== undefined && status?.state === State.UNPROVEN) continue;
        if (!sa || sa.deadMs !== undefined) {
          problems.push(`${site.name} could be reached, but has ${sa ? 'a dead' : 'no'} SA`);
          continue;
        }
        const shard = shardOfSa(sa, headend.shards);
        const hosts = this.nodes.flatMap(({ cluster }) =>
          (cluster?.shards.of(headend.name) ?? []).filter(({ id }) => id.shard === shard),
        );
        if (hosts.length !== 1) problems.push(`${headend.name}/${shard} has ${hosts.length} hosts`);
        else if (hosts[0]!.records.findHex(sa.spi) < 0) problems.push(`${site.name} is not watched`);
        // If everything was lost, the search for an id begins at the one that the headend named: a distant id takes hours.
        else if (!status?.proven && this.spokes.expects(sa) < FOUND_SOON)
          problems.push(`${site.name} lives and is not proven`);
        const waits = sa && this.daemons.waitsSince(sa);
        if (waits !== undefined && status?.proven && this.time.now - waits > ANSWERED_MS)
          problems.push(`a request to ${site.name} waits since ${this.time.now - waits} ms`);
      }
      for (let shard = 0; shard < headend.shards; shard++) {
        const keys = shardKeys({ headend: headend.name, shard });
        const open = this.redis.model.set(keys.due).size;
        const possible = headend.sites.every(({ up }) => up.some(Boolean));
        if (open > 0 && possible)
          problems.push(
            `${headend.name}/${shard} has ${open} failovers under way: ${[...this.redis.model.hash(keys.progress)]} ` +
              `failed ${[...this.redis.model.hash(keys.failed)]} due ${[...this.redis.model.set(keys.due)]}`,
          );
        const hosts = this.nodes.flatMap(({ cluster }) => cluster?.shards.of(headend.name) ?? []);
        const held = hosts.find(({ id }) => id.shard === shard)?.records.set.count ?? 0;
        const known = this.redis.model.hash(keys.sas).size;
        if (known !== held) problems.push(`Redis holds ${known} SAs of ${headend.name}/${shard}, its owner ${held}`);
      }
    }
    return problems;
  }

  /** What the one host of an SA says of it. */
  async #statusOf(headend: SimHeadend, { sa, spi }: TrueSa): Promise<PeerStatus | undefined> {
    const shard = shardOf(sa.id!.responderSpi, headend.shards);
    const host = this.nodes
      .flatMap(({ cluster }) => cluster?.shards.of(headend.name) ?? [])
      .find(({ id }) => id.shard === shard);
    const handle = host?.records.findHex(spi) ?? -1;
    return handle < 0 ? undefined : (await host!.statuses([handle]))[0];
  }

  // What a task asks of the world.

  send(task: SimTask, datagram: Buffer, address: number, port: number): void {
    const canary = readCanary(datagram);
    if (canary) {
      this.#sendCanary(task, datagram, canary, address);
      return;
    }
    if (datagram.readUInt32BE(0) === falseMarker(orderToDaemon(0))) {
      this.#handOver(task, datagram);
      return;
    }
    const { headend, lease } = this.#watchedBy(task)!;
    if (headend.closed) {
      // Messages that no rule takes are dropped.
      if (!headend.steers(task)) return;
      datagram.writeUInt32BE(0, 0);
    }
    this.checks.probed(lease, task);
    const truth = this.spokes.find(datagram);
    if (!truth) return;
    this.#travel(task, truth, () => {
      const site = truth.site;
      const endpoint = (address >>> 16) & 255;
      if (site.sa !== truth || truth.endpoint !== endpoint) return;
      if (truth.deadMs !== undefined) return;
      if (site.ports[endpoint] !== port) {
        truth.lossMs = this.time.now;
        return;
      }
      const answer = this.spokes.answer(truth, datagram);
      if (!answer) return;
      this.#travel(task, truth, () => {
        if (!headend.inwardDown) this.#arrive(task, truth, answer);
      });
    });
  }

  /** What the daemon of a task's headend is given: of a shard that is not open yet, too, where the rules name it already. */
  #handOver(task: SimTask, datagram: Buffer): void {
    if (!this.agents.some(({ headend }) => headend.closed && headend.steers(task))) return;
    datagram.writeUInt32BE(0, 0);
    this.daemons.receive(datagram);
  }

  /** A canary takes the way of probes, or of answers: it comes home by the rules, or its agent sees it arrive. */
  #sendCanary(task: SimTask, datagram: Buffer, { number, direction }: Canary, address: number): void {
    const { time, random } = this;
    const { headend } = this.agents[address & 255]!;
    const at = time.now + random.between(0.5, 3);
    if (!headend.closed) {
      time.at(at, undefined, () => headend.vouch(task.shard, task.port, number));
      return;
    }
    if (!headend.steers(task)) return;
    datagram.writeUInt32BE(0, 0);
    const out = direction === Direction.OUT;
    const sender = { address: Address.of(out ? HUB : canaryAddress(headend.index)), port: CANARY_PORT };
    time.at(at, task.process, () => {
      if (task.running && (out || !headend.inwardDown)) task.receiveCanary(datagram, sender);
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
          if (!task.receive(answer, SPOKE)) return;
          truth.answered = true;
          if (this.#owns(task)) truth.heardMs = time.now;
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
    const { process, cluster } = node;
    const pair = `${agent.name} ${node.name}`;
    const stream = new SimStream(this.time, this.random, agent, process, () => !this.apart.has(pair));
    this.streams.add(stream);
    this.time.at(this.time.now + this.random.between(1, 5), undefined, () => {
      if (!process.alive || !cluster) stream.break('connection refused');
      else if (!this.apart.has(pair)) stream.serve(cluster);
    });
    return stream.uplink();
  }

  #breakSoon(stream: SimStream, reason: string): void {
    const pair = `${stream.agent.name} ${stream.node.name}`;
    // No reset gets through a partition: keepalive notices the loss.
    if (!this.apart.has(pair)) stream.break(reason);
  }

  #checkStreams(): void {
    for (const stream of this.streams) {
      stream.check();
      if (!stream.open) this.streams.delete(stream);
    }
    this.time.at(this.time.now + STREAM_CHECK_MS, undefined, () => this.#checkStreams());
  }

  #joinBus(process: Process, onMessage: (message: ClusterMessage) => void) {
    this.#listeners.set(process, onMessage);
    return {
      publish: (message: ClusterMessage) => {
        if (!this.redis.up || this.withoutRedis.has(process)) return;
        for (const [listener, deliver] of this.#listeners)
          if (!this.withoutRedis.has(listener))
            this.time.at(this.time.now + this.random.between(0.5, 2), listener, () => {
              this.time.settled();
              deliver(message);
            });
      },
      close: () => void this.#listeners.delete(process),
    };
  }

  /** The queue of failovers: at least once, by any node that lives, again if that one dies. */
  #wake(id: ShardId, now: boolean): void {
    const key = `${id.headend}/${id.shard}`;
    const known = this.#jobs.get(key);
    if (known && now && !known.runner) this.#runJob(key, known, this.time.now + 1);
    if (known) return;
    const job: Job = { id, runner: undefined, turn: 0 };
    this.#jobs.set(key, job);
    this.#runJob(key, job, this.time.now + 1);
  }

  #runJob(key: string, job: Job, at: number): void {
    const turn = ++job.turn;
    this.time.at(at, undefined, () => {
      if (job.turn !== turn) return;
      const able = this.nodes.filter(({ process, reconciler }) => reconciler && process.alive);
      if (able.length === 0) return this.#runJob(key, job, this.time.now + 1_000);
      const { process, reconciler } = this.random.pick(able);
      job.runner = process;
      const finish = (again: number | undefined) => {
        if (job.runner !== process) return;
        job.runner = undefined;
        if (again === undefined) this.#jobs.delete(key);
        else this.#runJob(key, job, this.time.now + Math.max(again, 1));
      };
      reconciler!.run(job.id).then(finish, () => finish(500));
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
    const busy = this.#everyKind && random.chance(0.5);
    if (this.#everyKind) Object.assign(policy, unusual(random, busy));
    const site = this.spokes.add(
      headend.name,
      policy,
      endpoints,
      random.pick(['', 'east', 'west']),
      this.#everyKind ? busy : random.chance(0.3),
    );
    headend.sites.push(site);
    headend.establish(site, 0);
  }

  /** Longest detection time of all policies, ms. */
  get detectionMs(): number {
    return Math.max(...this.spokes.sites.map(({ policy }) => detectionMs(policy)));
  }
}
