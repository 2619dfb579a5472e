/** The Piscina task: owns one shard until told to stop. Resolves with the shard's last checkpoint. */

import { randomFillSync } from 'node:crypto';
import { monotonicMs } from './monotonic.ts';
import type { CheckpointChunk, ShardTask, ToShard } from './protocol.ts';
import { Shard } from './shard.ts';
import { bindUdp, dotted } from './udp.ts';

/** How often a shard looks at its wheel, ms. */
const TICK_INTERVAL_MS = 5;
const RANDOM_POOL_BYTES = 16 * 1024;

export default async function runShard({
  port,
  probeAddress,
  probePort,
  zeroUnix,
}: ShardTask): Promise<CheckpointChunk[]> {
  const socket = await bindUdp(probeAddress, probePort);
  const shard: Shard = new Shard({
    now: monotonicMs,
    wall: () => zeroUnix + monotonicMs(),
    fillRandom: pooledRandom(),
    send(message, length, address, toPort, handle) {
      socket.send(message, 0, length, toPort, dotted(address), (error) => {
        if (error) shard.sendFailed(handle);
      });
      return true;
    },
    post: (message) => port.postMessage(message),
  });
  socket.on('message', (datagram) => shard.receive(datagram));
  // An ICMP error is no evidence and no failure of the socket.
  socket.on('error', () => {});
  const timer = setInterval(() => shard.tick(), TICK_INTERVAL_MS);
  port.postMessage({ type: 'ready', probePort: socket.address().port });
  try {
    const whole = await new Promise<boolean>((resolve) => {
      port.on('message', (message: ToShard) => {
        if (message.type === 'stop') resolve(message.whole);
        else shard.handle(message);
      });
      port.on('close', () => resolve(false));
    });
    return shard.lastCheckpoint(whole);
  } finally {
    clearInterval(timer);
    socket.close();
    port.close();
  }
}

/** Random bytes from a pool: one call to the kernel's generator for a thousand IVs. */
function pooledRandom(): (bytes: Uint8Array) => void {
  const pool = Buffer.alloc(RANDOM_POOL_BYTES);
  let used = pool.length;
  return (bytes) => {
    if (used + bytes.length > pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    bytes.set(pool.subarray(used, used + bytes.length));
    pool.fill(0, used, used + bytes.length);
    used += bytes.length;
  };
}
