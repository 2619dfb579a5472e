/** A thread with a UDP socket on loopback, which sends back whatever it gets, or keeps silent. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Address } from '../../../workers/base/address.ts';

/** 127.0.0.1, where it listens. */
export const LOOPBACK = Address.of('127.0.0.1');

export async function startEcho(echoing: boolean): Promise<{ port: number; stop(): Promise<unknown> }> {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     const socket = require('node:dgram').createSocket('udp4');
     socket.on('message', (message, from) => workerData && socket.send(message, from.port, from.address));
     socket.bind(0, '127.0.0.1', () => parentPort.postMessage(socket.address().port));`,
    { eval: true, workerData: echoing },
  );
  const [port] = (await once(worker, 'message')) as [number];
  return { port, stop: () => worker.terminate() };
}
