/**
 * 100 failovers a second on one node, from verdict to end: verdict, acknowledgement, and all other steps. First with endpoints
 * that come up at once, then with such as come up at the second attempt. What the same spokes cost a node if they answer at the
 * last moment, on a node beside it, is taken off: their silence, and that another SA takes over. Beside the floor: the two writes
 * of a failover, that it has begun and that it has ended, each sent to a Redis by itself.
 */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { Action, Mode, Outcome, PolicySchema, type Sa, type Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import { shardOf } from '../../../services/api/spi.ts';
import { shardKeys } from '../../../services/store/keys.ts';
import type { RedisClient } from '../../../services/store/redis/redis.ts';
import type { RawStream } from '../../headend/raw-stream.ts';
import type { NodeProcess } from '../../node-process.ts';
import { saOf } from '../../spokes/fleet.ts';
import { type Result, round, threadCpuMicros } from '../measure.ts';
import { withNode, withRedis } from '../rig.ts';
import { benchFleet, encodeFleet, registerAll } from './register.ts';

const SHARDS = 8;
/** Verdicts a second. */
const RATE = 100;
/** Spokes fall silent a few at a time, ms. */
const STEP_MS = 100;
const A_STEP = (RATE * STEP_MS) / 1_000;
/** Detection of this policy, ms, and time for what is under way to reach its level, before anything is measured. */
const DETECTION_MS = 5_000;
const SETTLE_MS = 15_000;
const MEASURED_MS = 20_000;
const SPOKES = (RATE * (DETECTION_MS + SETTLE_MS + MEASURED_MS)) / 1_000;
/** An endpoint comes up after this, ms. */
const INITIATE_MS = 20;
const LOOK_MS = 1_000;
const FLOOR_WRITES = 2_000;
const VERDICT_BYTES = 300;

const times = { intervalMs: DETECTION_MS - 2_000, retryIntervalMs: 1_000, retries: 2, jitterPercent: 0 };
/**
 * After it is proven, a spoke is not probed before the headend has sent it something: so it dies at the moment that the
 * benchmark chooses.
 */
const MORTAL = { mode: Mode.ON_DEMAND, ...times };
/** An SA that took over is asked, and answers, within this interval. */
const SUCCESSOR = create(PolicySchema, { ...MORTAL, intervalMs: 30_000, action: Action.FAILOVER });

/** What the data plane makes of a verdict; undefined: there are none, as every spoke answers at the last moment. */
type Outcomes = ((verdict: Verdict) => Outcome) | undefined;
/** What a node and its Redis did for each spoke: CPU of the node, us; commands, those in scripts too; reads, as many as round trips. */
type Cost = { readonly cpu: number; readonly commands: number; readonly reads: number; readonly underWay: number };

export async function failover(): Promise<Result> {
  const baseline = await floorMicros();
  const once = await besides(() => Outcome.FAILED_OVER);
  const again = await besides(({ attempt }) => (attempt === 0 ? Outcome.FAILOVER_FAILED : Outcome.FAILED_OVER));
  return {
    cpu_us: once.cpu,
    redis_commands: once.commands,
    redis_reads: once.reads,
    under_way: once.underWay,
    two_attempts_cpu_us: again.cpu,
    two_attempts_commands: again.commands,
    two_attempts_reads: again.reads,
    two_attempts_under_way: again.underWay,
    baseline,
    ratio: round(once.cpu / baseline),
  };
}

/** What failovers cost more than spokes that answer at the last moment, beside them on a node of their own: the same hour for both. */
async function besides(outcomes: Outcomes): Promise<Cost> {
  const [without, these] = await Promise.all([run(undefined), run(outcomes)]);
  return {
    cpu: round(these.cpu - without.cpu),
    commands: round(these.commands - without.commands),
    reads: round(these.reads - without.reads),
    underWay: these.underWay,
  };
}

/** Has spokes fall silent for as long as it takes. */
async function run(outcomes: Outcomes): Promise<Cost> {
  return withRedis(async (redis, url) =>
    withNode(
      { DPD_STORM_SHARE: '0', REDIS_URL: url, DPD_VAULT_KEY: randomBytes(32).toString('base64') },
      async (node) => {
        const batches = encodeFleet(SPOKES, SHARDS, { policy: MORTAL, keys: false });
        const { streams, handles } = await registerAll(node, batches);
        const headend = new BenchHeadend(streams, handles, outcomes);
        // All are asked, and answer.
        await sleep(DETECTION_MS);
        const silencing = silenceSlowly(headend);
        await sleep(DETECTION_MS + SETTLE_MS);
        const before = { replaced: headend.replaced, ...(await totals(node, redis)) };
        const underWay: number[] = [];
        for (let ms = 0; ms < MEASURED_MS; ms += LOOK_MS) {
          await sleep(LOOK_MS);
          underWay.push(await countUnderWay(redis));
        }
        const after = { replaced: headend.replaced, ...(await totals(node, redis)) };
        clearInterval(silencing);
        headend.stop();
        for (const stream of streams) stream.close();
        const each = (what: keyof typeof after) =>
          round((after[what] - before[what]) / (after.replaced - before.replaced));
        return {
          cpu: each('cpuMicros'),
          commands: each('commands'),
          reads: each('reads'),
          underWay: underWay.at(-1)!,
        };
      },
    ),
  );
}

/** A few spokes after the other, of all shards in turn. */
function silenceSlowly(headend: BenchHeadend): NodeJS.Timeout {
  let spoke = 0;
  return setInterval(() => {
    for (let n = 0; n < A_STEP && spoke < SPOKES; n++) headend.silence(spoke++);
  }, STEP_MS);
}

/** A headend that probes for the node. Spokes answer until they are silenced, and are then replaced by their life on another endpoint. */
class BenchHeadend {
  /** SAs that others took over from. */
  replaced = 0;
  readonly #streams: readonly RawStream[];
  readonly #outcomes: Outcomes;
  readonly #fleet = benchFleet(SPOKES, SHARDS);
  /** Where each spoke was registered. */
  readonly #places: { readonly shard: number; readonly handle: number }[] = [];
  /** By shard and handle: silent spokes, and how often they were asked since. */
  readonly #silent: readonly Map<number, { readonly spoke: number; asked: number }>[];
  #batch = 1_000_000n;
  #stopped = false;

  constructor(streams: readonly RawStream[], handles: readonly (readonly number[])[], outcomes: Outcomes) {
    this.#streams = streams;
    this.#outcomes = outcomes;
    this.#silent = streams.map(() => new Map());
    const next = handles.map((of) => of.values());
    for (let spoke = 0; spoke < SPOKES; spoke++) {
      const shard = shardOf(this.#life(spoke, 0).id!.responderSpi, SHARDS);
      this.#places.push({ shard, handle: next[shard]!.next().value! });
    }
    streams.forEach((stream, shard) => {
      stream.onMessage((message) => {
        if (message.case === 'verdicts') void this.#apply(shard, message.value.verdicts);
        if (message.case === 'delegatedProbes') this.#probe(shard, message.value);
        // Its handle may be used again.
        if (message.case === 'batchDone')
          for (const handle of message.value.handles) this.#silent[shard]!.delete(handle);
      });
    });
  }

  /** The spoke is silent from now on, and the headend has something to send to it. */
  silence(spoke: number): void {
    const { shard, handle } = this.#places[spoke]!;
    this.#silent[shard]!.set(handle, { spoke, asked: 0 });
    this.#streams[shard]!.tell({ case: 'evidence', value: { sentHandles: [handle] } });
  }

  stop(): void {
    this.#stopped = true;
    for (const stream of this.#streams) stream.onMessage(undefined);
  }

  async #apply(shard: number, verdicts: readonly Verdict[]): Promise<void> {
    await sleep(INITIATE_MS);
    if (this.#stopped) return;
    const came: number[] = [];
    const acks = verdicts.map((verdict) => {
      const outcome = this.#outcomes!(verdict);
      const ack = { verdictId: verdict.id, attempt: verdict.attempt, outcome };
      if (outcome !== Outcome.FAILED_OVER) return ack;
      const spoke = Number(verdict.peerId.slice('spoke-'.length));
      came.push(spoke);
      return { ...ack, successor: this.#life(spoke, 1).id! };
    });
    this.#streams[shard]!.tell({ case: 'verdictAcks', value: { acks } });
    for (const spoke of came) this.#replace(shard, spoke);
  }

  /** Silent spokes do not answer; where there are to be no verdicts, they do when they are asked for the last time. */
  #probe(shard: number, { handles, probeIds }: { handles: readonly number[]; probeIds: readonly number[] }): void {
    const value = { handles: [] as number[], probeIds: [] as number[] };
    const back: number[] = [];
    for (const [n, handle] of handles.entries()) {
      const silent = this.#silent[shard]!.get(handle);
      if (silent && (this.#outcomes || ++silent.asked < times.retries)) continue;
      value.handles.push(handle);
      value.probeIds.push(probeIds[n]!);
      if (silent) back.push(silent.spoke);
    }
    if (value.handles.length > 0) this.#streams[shard]!.tell({ case: 'delegatedResults', value });
    for (const spoke of back) this.#replace(shard, spoke);
  }

  #replace(shard: number, spoke: number): void {
    this.replaced++;
    const gone = this.#life(spoke, 0).id!;
    this.#streams[shard]!.tell({ case: 'remove', value: { batchId: this.#batch++, sas: [gone] } });
    const came = this.#life(spoke, 1);
    const to = this.#streams[shardOf(came.id!.responderSpi, SHARDS)]!;
    to.tell({ case: 'upsert', value: { batchId: this.#batch++, sas: [came] } });
  }

  #life(spoke: number, life: number): Sa {
    const sa = saOf(this.#fleet, spoke, life, SUCCESSOR);
    sa.keys = undefined;
    return sa;
  }
}

/** What node and Redis did so far. */
async function totals(
  node: NodeProcess,
  redis: RedisClient,
): Promise<{ cpuMicros: number; commands: number; reads: number }> {
  const stats = await redis.info('stats');
  const total = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(stats)![1]);
  return {
    cpuMicros: node.cpuSeconds() * 1e6,
    commands: total('total_commands_processed'),
    reads: total('total_reads_processed'),
  };
}

/** Failovers that have not been seen through. */
async function countUnderWay(redis: RedisClient): Promise<number> {
  const counts = Array.from({ length: SHARDS }, (_, shard) => redis.zcard(shardKeys({ headend: 'bench', shard }).due));
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

/** Two scripts that write a verdict and take it away again, one after the other, us of this thread's CPU. */
async function floorMicros(): Promise<number> {
  return withRedis(async (redis) => {
    const verdict = Buffer.alloc(VERDICT_BYTES, 7);
    const before = threadCpuMicros();
    for (let n = 0; n < FLOOR_WRITES; n++) {
      await redis.eval("return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])", 1, 'failovers', n, verdict);
      await redis.eval("return redis.call('HDEL', KEYS[1], ARGV[1])", 1, 'failovers', n);
    }
    return round((threadCpuMicros() - before) / FLOOR_WRITES);
  });
}
