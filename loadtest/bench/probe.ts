/**
 * A probe's round trip in the node, timer to answer, beside its floor measured in the same run: one datagram sent and
 * one received on a bare socket, one seal and one open with a bare cipher. The spokes run on a thread of their own,
 * and only this thread's CPU time counts.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { Mode, PolicySchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { readCanary } from '../../workers/canary.ts';
import { ProbeSocket } from '../../workers/probe-socket.ts';
import { pooledRandom } from '../../workers/random.ts';
import { Shard } from '../../workers/shard.ts';
import { bindUdp } from '../../workers/udp.ts';
import { type FleetShape, pageOf, suiteNamed } from '../spokes/fleet.ts';
import { SpokesThread } from '../spokes/thread.ts';
import { startEcho } from './echo.ts';
import { type Result, round, threadCpuMicros } from './measure.ts';
import { splitProbe } from './probe-split.ts';

/** Enough that the 5 ms tick's own cost is spread over many probes. */
const SPOKES = 10_000;
const INTERVAL_MS = 1_000;
const RUN_MS = 5_000;
const WARM_MS = 3_000;
const GCM_256 = suiteNamed('aes-256-gcm');

export async function probe(): Promise<Result> {
  const floor = await floorMicros();
  const { micros, answered } = await probeMicros();
  return {
    cpu_us_per_probe: micros,
    probes: answered,
    probes_per_s: round(answered / (RUN_MS / 1_000)),
    ...(await splitProbe()),
    baseline: floor,
    ratio: round(micros / floor),
  };
}

async function probeMicros(): Promise<{ micros: number; answered: number }> {
  const seed = 'bench';
  const spokes = await SpokesThread.start({ seed, count: SPOKES, sockets: 64, suite: GCM_256 });
  const fleet: FleetShape = { count: SPOKES, shards: 1, seed, suite: GCM_256, sockets: spokes.sockets };
  const policy = create(PolicySchema, {
    mode: Mode.PERIODIC,
    intervalMs: INTERVAL_MS,
    retryIntervalMs: 500,
    retries: 5,
  });
  const socket = await ProbeSocket.bind(
    '127.0.0.1',
    0,
    (datagram) => shard.receive(datagram),
    (handle) => shard.sendFailed(handle),
  );
  const shard: Shard = new Shard({
    now: () => performance.now(),
    wall: () => Date.now(),
    fillRandom: pooledRandom(),
    send(message, address, port, handle) {
      // No rules here: a canary has left properly once it is handed over.
      const canary = handle < 0 ? readCanary(message) : undefined;
      if (canary !== undefined) setImmediate(() => shard.handle({ type: 'voucher', canary }));
      return socket.send(message, address, port, handle);
    },
    post: () => {},
  });
  shard.handle({
    type: 'path',
    path: { canaryAddress: 0x7f000001, canaryPort: 9, guarded: false, ready: true, open: false },
  });
  shard.handle({ type: 'upsert', page: pageOf(fleet, SPOKES, policy) });
  const timer = setInterval(() => shard.tick(), 5);
  await sleep(WARM_MS);
  const cpu = threadCpuMicros();
  const before = shard.counters().probesAnswered;
  await sleep(RUN_MS);
  const answered = shard.counters().probesAnswered - before;
  const micros = round((threadCpuMicros() - cpu) / answered);
  clearInterval(timer);
  socket.close();
  await spokes.stop();
  return { micros, answered };
}

/** One bare datagram each way and one bare seal and open, us of this thread's CPU. */
async function floorMicros(): Promise<number> {
  const echo = await startEcho(true);
  const socket = await bindUdp('127.0.0.1', 0);
  const key = Buffer.alloc(32, 1);
  const nonce = Buffer.alloc(12, 2);
  const header = Buffer.alloc(32);
  const message = Buffer.alloc(61);
  let received = 0;
  socket.on('message', () => {
    received++;
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(header).setAuthTag(tag);
    decipher.update(sealed);
    decipher.final();
  });
  const first = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(header);
  const sealed = Buffer.concat([first.update(Buffer.of(0)), first.final()]);
  const tag = first.getAuthTag();
  const perTick = (SPOKES * 5) / INTERVAL_MS;
  const timer = setInterval(() => {
    for (let n = 0; n < perTick; n++) {
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(header);
      cipher.update(Buffer.of(0));
      cipher.final();
      cipher.getAuthTag();
      socket.send(message, 0, message.length, echo.port, '127.0.0.1', () => {});
    }
  }, 5);
  await sleep(WARM_MS);
  const cpu = threadCpuMicros();
  const before = received;
  await sleep(RUN_MS);
  const micros = round((threadCpuMicros() - cpu) / (received - before));
  clearInterval(timer);
  socket.close();
  await echo.stop();
  return micros;
}
