/**
 * A probe's round trip in the node, timer to answer, beside its floor measured in the same run: one datagram sent and
 * one received on a bare socket, one seal and one open with a bare cipher, by the same means. What Node's own socket and
 * cipher objects take is measured too. The spokes run on a thread of their own, and only this thread's CPU time counts. With
 * `--ike 1` it is IKEv1's, beside IKEv2's of the same run.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { fastestAead } from '../../../workers/crypto/fastest-aead.ts';
import { pooledRandom } from '../../../workers/crypto/random.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { TICK_MS } from '../../../workers/liveness/wheel.ts';
import { bindProbeSocket } from '../../../workers/net/open-probe-socket.ts';
import { bindUdp } from '../../../workers/net/udp.ts';
import { readCanary } from '../../../workers/path/canary.ts';
import { Shard } from '../../../workers/shard/shard.ts';
import { type FleetShape, pageOf, suiteNamed, vouchedPath } from '../../spokes/fleet.ts';
import { ikev1SuiteNamed } from '../../spokes/ikev1.ts';
import { SpokesThread } from '../../spokes/thread.ts';
import { type Result, round, threadCpuMicros } from '../measure.ts';
import { LOOPBACK, startEcho } from './echo.ts';
import { splitProbe } from './probe-split.ts';

/** Enough that a tick's own cost is spread over many probes. */
const SPOKES = 10_000;
const INTERVAL_MS = 1_000;
const RUN_MS = 5_000;
const WARM_MS = 3_000;
const PER_TICK = (SPOKES * TICK_MS) / INTERVAL_MS;
const GCM_256 = suiteNamed('aes-256-gcm');
const CBC_256 = SUITES.findIndex(({ cipher, hash }) => cipher === 'aes-256-cbc' && hash === 'sha256');
const HEADER = Buffer.alloc(32);
/** As long as a probe. */
const MESSAGE = Buffer.alloc(61);

export async function probe(): Promise<Result> {
  const floor = await floorMicros();
  const micros = await probeMicros(GCM_256);
  return {
    cpu_us_per_probe: micros,
    probes_per_s: (SPOKES * 1_000) / INTERVAL_MS,
    node_floor_us: await nodeFloorMicros(),
    ...(await splitProbe()),
    baseline: floor,
    ratio: round(micros / floor),
  };
}

/** The same for IKEv1, AES-256 and SHA-256, beside IKEv2's with the same cipher and hash, and with AES-GCM. */
export async function probeIkev1(): Promise<Result> {
  const micros = await probeMicros(ikev1SuiteNamed('aes-256-cbc', 'sha256'));
  const cbc = await probeMicros(CBC_256);
  const gcm = await probeMicros(GCM_256);
  return {
    cpu_us_per_probe: micros,
    ikev2_cbc_us: cbc,
    ikev2_gcm_us: gcm,
    baseline: cbc,
    ratio: round(micros / cbc),
    ratio_gcm: round(micros / gcm),
  };
}

async function probeMicros(suite: number): Promise<number> {
  const seed = 'bench';
  const spokes = await SpokesThread.start({ seed, count: SPOKES, sockets: 64, suite });
  const fleet: FleetShape = { count: SPOKES, shards: 1, seed, suite, sockets: spokes.sockets };
  const policy = create(PolicySchema, {
    mode: Mode.PERIODIC,
    intervalMs: INTERVAL_MS,
    retryIntervalMs: 500,
    retries: 5,
  });
  const socket = await bindProbeSocket(
    '127.0.0.1',
    0,
    (datagram, sender) => shard.receive(datagram, sender),
    (handle) => shard.sendFailed(handle),
  );
  const shard: Shard = new Shard({
    now: () => performance.now(),
    wall: () => Date.now(),
    fillRandom: pooledRandom(),
    send(message, address, port, handle) {
      // No rules here: a canary has left properly once it is handed over.
      const canary = handle < 0 ? readCanary(message) : undefined;
      if (canary) setImmediate(() => shard.handle({ type: 'voucher', canary: canary.number }));
      return socket.send(message, address, port, handle);
    },
    post: () => {},
    shard: 0,
  });
  shard.handle({ type: 'path', path: vouchedPath('127.0.0.1', 9) });
  shard.handle({ type: 'upsert', page: pageOf(fleet, SPOKES, policy) });
  const tick = () => {
    socket.receive();
    shard.tick();
  };
  const micros = await microsEach(tick, () => shard.counters().probesAnswered);
  socket.close();
  await spokes.stop();
  return micros;
}

/** One bare datagram each way and one bare seal and open, us of this thread's CPU. */
async function floorMicros(): Promise<number> {
  const shape = { cipher: 'aes-256-gcm', hash: '', key: 32, integrityKey: 0, nonce: 12, text: 1, tag: 16 };
  const cipher = fastestAead({ ...shape, header: HEADER.length });
  let received = 0;
  const echo = await startEcho(true);
  const socket = await bindProbeSocket(
    '127.0.0.1',
    0,
    () => {
      received++;
      cipher.open(1, HEADER.length);
    },
    () => {},
  );
  const tick = () => {
    socket.receive();
    for (let n = 0; n < PER_TICK; n++) {
      cipher.seal(1, HEADER.length);
      socket.send(MESSAGE, LOOPBACK, echo.port, n);
    }
  };
  const micros = await microsEach(tick, () => received);
  socket.close();
  await echo.stop();
  return micros;
}

/** The same with Node's socket, and a cipher object for each message. */
async function nodeFloorMicros(): Promise<number> {
  const echo = await startEcho(true);
  const socket = await bindUdp('127.0.0.1', 0);
  const [key, nonce, plain] = [Buffer.alloc(32, 1), Buffer.alloc(12, 2), Buffer.of(0)];
  const options = { authTagLength: 16 };
  let received = 0;
  const first = createCipheriv('aes-256-gcm', key, nonce, options).setAAD(HEADER);
  const sealed = Buffer.concat([first.update(plain), first.final()]);
  const tag = first.getAuthTag();
  socket.on('message', () => {
    received++;
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, options).setAAD(HEADER).setAuthTag(tag);
    decipher.update(sealed);
    decipher.final();
  });
  const tick = () => {
    for (let n = 0; n < PER_TICK; n++) {
      const cipher = createCipheriv('aes-256-gcm', key, nonce, options).setAAD(HEADER);
      cipher.update(plain);
      cipher.final();
      cipher.getAuthTag();
      socket.send(MESSAGE, 0, MESSAGE.length, echo.port, '127.0.0.1', () => {});
    }
  };
  const micros = await microsEach(tick, () => received);
  socket.close();
  await echo.stop();
  return micros;
}

/** This thread's CPU for each of what is counted, while ticks go on, us. */
async function microsEach(tick: () => void, counted: () => number): Promise<number> {
  const timer = setInterval(tick, TICK_MS);
  await sleep(WARM_MS);
  const cpu = threadCpuMicros();
  const before = counted();
  await sleep(RUN_MS);
  const micros = round((threadCpuMicros() - cpu) / (counted() - before));
  clearInterval(timer);
  return micros;
}
