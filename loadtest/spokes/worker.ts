/** A thread of simulated spokes: one responder behind many sockets spread over 127/8. */

import { parentPort } from 'node:worker_threads';
import { bindProbeSocket } from '../../workers/net/open-probe-socket.ts';
import { LIVES } from './fleet.ts';
import type { FromSpokes, ToSpokes } from './protocol.ts';
import { Responder } from './responder.ts';

/** How often sockets are asked for what has arrived, ms. */
const LOOK_INTERVAL_MS = 5;

const port = parentPort!;
let responder: Responder | undefined;

const say = (message: FromSpokes) => port.postMessage(message);

port.on('message', async (message: ToSpokes) => {
  switch (message.type) {
    case 'start': {
      responder = new Responder(message.seed, message.count, message.suite);
      const sockets = await Promise.all(
        Array.from({ length: message.sockets }, (_, n) => listen(`127.${1 + (n >> 8)}.${n & 255}.1`)),
      );
      setInterval(() => {
        for (const { socket } of sockets) socket.receive();
      }, LOOK_INTERVAL_MS);
      say({ type: 'ready', sockets: sockets.map(({ address, socket: { port: at } }) => ({ address, port: at })) });
      break;
    }
    case 'cost': {
      const { user, system } = process.threadCpuUsage();
      say({ type: 'cost', cpuMicros: user + system, answered: responder?.answered ?? 0 });
      break;
    }
    case 'bring':
      responder!.bring(message.spoke, message.life);
      break;
    case 'kill':
      responder!.kill(message.spoke, message.life);
      say({
        type: 'killed',
        spoke: message.spoke,
        life: message.life,
        lastAnswerUnix: responder!.lastAnswer[message.spoke * LIVES + message.life]!,
      });
      break;
  }
});

/** A socket that answers for whichever spoke is asked. */
async function listen(address: string) {
  const socket = await bindProbeSocket(
    address,
    0,
    (request) => {
      const response = responder!.answer(request);
      if (response) socket.answer(response);
    },
    () => {},
  );
  return { address, socket };
}
