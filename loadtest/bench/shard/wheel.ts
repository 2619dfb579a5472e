/**
 * The timing wheel at 10^4 to 10^7 timers, operation by operation, beside a binary heap, Node's own timers, and Netty's
 * HashedWheelTimer where Java and Debian's libnetty-java are there. Every timer is set, touched, and half of them
 * cancelled; the other half run out.
 */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TICK_MS, TimingWheel } from '../../../workers/liveness/wheel.ts';
import { type Result, round, threadCpuMicros } from '../measure.ts';
import { Heap } from './heap.ts';

const SIZES = { '1e4': 10_000, '1e5': 100_000, '1e6': 1_000_000, '1e7': 10_000_000 } as const;
/** What all are compared at. */
const AT = '1e6';
/** Node keeps an object a timer: more take too much memory. */
const NODE_TIMERS = 1_000_000;
const NETTY_TIMERS = 1_000_000;
const NETTY_MS = 120_000;
const NETTY_JARS = ['netty-common', 'netty-all', 'jctools-core'].map((name) => `/usr/share/java/${name}.jar`);
const SPAN_MS = 30_000;
/** Operations measured at least. */
const OPERATIONS = 3_000_000;

/** What an operation costs, ns. */
type Costs = { schedule: number; touch: number; cancel: number; expire: number };

type Rival = {
  schedule(handle: number, at: number): void;
  touch(handle: number, at: number): void;
  cancel(handle: number): void;
  /** Runs out all that are left. Returns how many there were. */
  expire(): number;
};

export async function wheel(): Promise<Result> {
  const result: Record<string, number> = {};
  for (const [name, size] of Object.entries(SIZES)) {
    put(result, 'wheel', name, measure(size, ourWheel));
    put(result, 'heap', name, measure(size, heap));
  }
  put(result, 'node', '1e6', await nodeTimers(NODE_TIMERS));
  put(result, 'netty', '1e6', netty());
  const mean = (rival: string) =>
    round(
      (['schedule', 'touch', 'cancel', 'expire'] as const).reduce(
        (sum, operation) => sum + result[`${rival}_${operation}_ns_${AT}`]!,
        0,
      ) / 4,
    );
  const [ours, baseline] = [mean('wheel'), mean('heap')];
  return {
    ...result,
    // Two links, a bucket and an expiry.
    bytes_per_timer: 4 + 4 + 2 + 8,
    ns_per_operation: ours,
    baseline,
    ratio: round(ours / baseline),
  };
}

function put(result: Record<string, number>, rival: string, size: string, costs: Partial<Costs>): void {
  for (const [operation, ns] of Object.entries(costs)) result[`${rival}_${operation}_ns_${size}`] = ns;
}

function measure(size: number, make: (size: number) => Rival): Costs {
  const due = Float64Array.from({ length: size }, (_, n) => 1 + ((Math.imul(n + 1, 0x9e3779b1) >>> 0) % SPAN_MS));
  const micros = { schedule: 0, touch: 0, cancel: 0, expire: 0 };
  const rounds = Math.ceil(OPERATIONS / size);
  // The first round is for the compiler, unless it is so long that it hardly matters.
  for (let done = rounds > 1 ? -1 : 0; done < rounds; done++) {
    if (done === 0) Object.assign(micros, { schedule: 0, touch: 0, cancel: 0, expire: 0 });
    const timers = make(size);
    const time = (operation: keyof Costs, work: () => void) => {
      const before = threadCpuMicros();
      work();
      micros[operation] += threadCpuMicros() - before;
    };
    time('schedule', () => {
      for (let handle = 0; handle < size; handle++) timers.schedule(handle, due[handle]!);
    });
    time('touch', () => {
      for (let handle = 0; handle < size; handle++) timers.touch(handle, due[size - 1 - handle]!);
    });
    time('cancel', () => {
      for (let handle = 0; handle < size; handle += 2) timers.cancel(handle);
    });
    time('expire', () => {
      const fired = timers.expire();
      if (fired !== size / 2) throw new Error(`${fired} timers ran out, not ${size / 2}`);
    });
  }
  const each = (sum: number, share: number) => round((sum * 1_000) / (rounds * size * share));
  return {
    schedule: each(micros.schedule, 1),
    touch: each(micros.touch, 1),
    cancel: each(micros.cancel, 0.5),
    expire: each(micros.expire, 0.5),
  };
}

function ourWheel(size: number): Rival {
  const timers = new TimingWheel(0, size);
  return {
    schedule: (handle, at) => timers.schedule(handle, at),
    touch: (handle, at) => timers.schedule(handle, at),
    cancel: (handle) => timers.cancel(handle),
    expire() {
      let fired = 0;
      const count = () => {
        fired++;
      };
      for (let now = 0; now <= SPAN_MS + TICK_MS; now += TICK_MS) timers.advance(now, count);
      return fired;
    },
  };
}

function heap(size: number): Rival {
  const timers = new Heap(size);
  return {
    schedule: (handle, at) => timers.push(at, handle),
    touch: (handle, at) => timers.replace(handle, at),
    cancel: (handle) => timers.remove(handle),
    expire() {
      let fired = 0;
      for (; timers.size > 0; fired++) timers.pop();
      return fired;
    },
  };
}

/** Node's timers: a list for each duration, an object for each timer. What runs out does so in a second of real time. */
async function nodeTimers(size: number): Promise<Costs> {
  const timers = new Array<NodeJS.Timeout>(size);
  let fired = 0;
  const count = () => {
    fired++;
  };
  const took = async (work: () => void | Promise<void>) => {
    const before = threadCpuMicros();
    await work();
    return threadCpuMicros() - before;
  };
  const schedule = await took(() => {
    for (let n = 0; n < size; n++) timers[n] = setTimeout(count, SPAN_MS + ((n * 7_919) % SPAN_MS));
  });
  const touch = await took(() => {
    for (const timer of timers) timer.refresh();
  });
  const cancel = await took(() => {
    for (const timer of timers) clearTimeout(timer);
  });
  const most = size / 10;
  const expire = await took(async () => {
    for (let n = 0; n < most; n++) setTimeout(count, n % 1_000);
    while (fired < most) await sleep(100);
  });
  const each = (micros: number, operations: number) => round((micros * 1_000) / operations);
  const scheduleNs = each(schedule, size);
  return {
    schedule: scheduleNs,
    touch: each(touch, size),
    cancel: each(cancel, size),
    expire: round(each(expire, most) - scheduleNs),
  };
}

/** Nothing where there is no Java or no Netty. */
function netty(): Partial<Costs> {
  const jars = NETTY_JARS.filter((jar) => existsSync(jar));
  try {
    const source = new URL('./NettyWheel.java', import.meta.url).pathname;
    const args = ['-cp', jars.join(':'), source, String(NETTY_TIMERS)];
    const output = execFileSync('java', args, { timeout: NETTY_MS, stdio: ['ignore', 'pipe', 'pipe'] });
    return JSON.parse(output.toString()) as Partial<Costs>;
  } catch {
    process.stderr.write('wheel: Netty left out: needs a JDK and libnetty-java\n');
    return {};
  }
}
