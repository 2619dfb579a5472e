/**
 * What a probe's round trip is made of, layer by layer: each does its part for many peers in a row, so caches are warmer and
 * wake-ups fewer than in the whole.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { NOWHERE } from '../../../workers/base/address.ts';
import { Reply } from '../../../workers/base/reply.ts';
import { pooledRandom } from '../../../workers/crypto/random.ts';
import { Ikev2Exchange } from '../../../workers/ikev2/exchange.ts';
import { keyMaterial, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { open, seal } from '../../../workers/ikev2/sk-payload.ts';
import { SUITES, type Suite } from '../../../workers/ikev2/suites.ts';
import { bindProbeSocket } from '../../../workers/net/open-probe-socket.ts';
import { SENDS_IN_FLIGHT, SendBuffers } from '../../../workers/net/send-buffers.ts';
import { identityOf, suiteNamed } from '../../spokes/fleet.ts';
import { Responder } from '../../spokes/responder.ts';
import { round, threadCpuMicros } from '../measure.ts';
import { LOOPBACK, startEcho } from './echo.ts';
import { answeredProbe } from './machine.ts';

/** Requests that lie in send buffers at the same time. */
const PEERS = SENDS_IN_FLIGHT / 2;
const ROUNDS = 40;
/** Datagrams sent between two turns of the event loop, as a tick's worth of probes. */
const BURST = 50;
const DATAGRAMS = 50_000;
const SETTLE_MS = 100;

/** CPU of one probe with AES-256-GCM by layer, us. */
export async function splitProbe(): Promise<Record<string, number>> {
  const suite = SUITES[suiteNamed('aes-256-gcm')]!;
  const { writeMicros, sealMicros, openMicros, readMicros } = wire(suite);
  const { sendMicros, receiveMicros } = await socket();
  return {
    split_timer_us: round(answeredProbe() / 1_000),
    split_build_us: round(writeMicros - sealMicros),
    split_seal_us: round(sealMicros),
    split_send_us: sendMicros,
    split_receive_us: receiveMicros,
    split_open_us: round(openMicros),
    split_apply_us: round(readMicros - openMicros),
  };
}

/** A request written, with its sealing, and sealed once more; an answer opened, and then judged, with its opening. */
function wire(suite: Suite) {
  const sessions = new SessionTable();
  const exchange = new Ikev2Exchange(sessions, pooledRandom());
  const spokes = new Responder('split', PEERS, suite.index);
  const buffers = new SendBuffers();
  for (let handle = 0; handle < PEERS; handle++) {
    const identity = identityOf('split', handle, 0, suite.index);
    const material = keyMaterial(identity.suite, false, identity);
    const keys = { suite: suite.index, material };
    sessions.add({ handle, spi: identity.spi, headendIsInitiator: false, address: NOWHERE, port: 0, nextMid: 0, keys });
  }
  const micros = { write: 0, seal: 0, open: 0, read: 0 };
  const time = (layer: keyof typeof micros, work: (handle: number) => void) => {
    const begun = threadCpuMicros();
    for (let handle = 0; handle < PEERS; handle++) work(handle);
    micros[layer] += threadCpuMicros() - begun;
  };
  const requests = new Array<Buffer>(PEERS);
  // The first rounds are for the compiler.
  for (let turn = -3; turn < ROUNDS; turn++) {
    if (turn === 0) Object.assign(micros, { write: 0, seal: 0, open: 0, read: 0 });
    time('write', (handle) => {
      exchange.begin(handle);
      const message = buffers.next(exchange.length(handle));
      exchange.write(handle, 0, message);
      requests[handle] = message;
    });
    time('seal', (handle) => seal(suite, sessions.sendKeys(handle), requests[handle]!));
    const answers = requests.map((request) => Buffer.from(spokes.answer(request)!));
    time('open', (handle) => {
      if (!open(suite, sessions.receiveKeys(handle), answers[handle]!)) throw new Error('an answer not opened');
    });
    time('read', (handle) => {
      if (exchange.receive(answers[handle]!) !== Reply.ALIVE) throw new Error('an answer not taken');
    });
  }
  const each = (sum: number) => sum / (ROUNDS * PEERS);
  return {
    writeMicros: each(micros.write),
    sealMicros: each(micros.seal),
    openMicros: each(micros.open),
    readMicros: each(micros.read),
  };
}

/** A datagram out to a socket that keeps silent, and one out and back; the difference is one in. */
async function socket(): Promise<{ sendMicros: number; receiveMicros: number }> {
  const sendMicros = await datagrams(false);
  return { sendMicros, receiveMicros: round((await datagrams(true)) - sendMicros) };
}

async function datagrams(echoing: boolean): Promise<number> {
  const other = await startEcho(echoing);
  let back = 0;
  const own = await bindProbeSocket(
    '127.0.0.1',
    0,
    () => {
      back++;
    },
    () => {},
  );
  const buffers = new SendBuffers();
  const send = async (count: number) => {
    for (let n = 0; n < count; n++) {
      own.send(buffers.next(65), LOOPBACK, other.port, n);
      if (n % BURST !== BURST - 1) continue;
      // What is sent faster than it is echoed is lost, and would look cheap.
      do {
        await new Promise<void>((resolve) => void setImmediate(resolve));
        own.receive();
      } while (echoing && n + 1 - back > 2 * BURST);
    }
    await sleep(SETTLE_MS);
    own.receive();
  };
  await send(DATAGRAMS / 5);
  back = 0;
  const before = threadCpuMicros();
  await send(DATAGRAMS);
  const micros = round((threadCpuMicros() - before) / DATAGRAMS);
  if (echoing && back < DATAGRAMS * 0.99) throw new Error(`${back} of ${DATAGRAMS} datagrams came back`);
  own.close();
  await other.stop();
  return micros;
}
