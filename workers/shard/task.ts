/** The Piscina task: owns one shard until told to stop. Resolves with the shard's last checkpoint. */

import { monotonicMs } from '../base/monotonic.ts';
import { pooledRandom } from '../crypto/random.ts';
import { Vault } from '../keys/vault.ts';
import { TICK_MS } from '../liveness/wheel.ts';
import { useProbeSocket } from '../net/open-probe-socket.ts';
import { ReceiveDrops } from '../net/receive-drops.ts';
import { Pacer } from './pacer.ts';
import type { CheckpointPart, ShardTask, ToShard } from './protocol.ts';
import { Shard } from './shard.ts';

/** How often the kernel is asked what it dropped, ms: within a retry interval, so that it is known before a verdict. */
const DROPS_INTERVAL_MS = 200;

export default async function runShard({
  port,
  probe,
  probesPerSecond,
  zeroUnix,
  vaultKey,
}: ShardTask): Promise<CheckpointPart> {
  const socket = await useProbeSocket(
    probe,
    (datagram) => shard.receive(datagram),
    (handle) => shard.sendFailed(handle),
  );
  const shard: Shard = new Shard({
    now: monotonicMs,
    wall: () => zeroUnix + monotonicMs(),
    fillRandom: pooledRandom(),
    send: (message, address, toPort, handle) => socket.send(message, address, toPort, handle),
    post: (message) => port.postMessage(message),
    pacer: pacerOf(probesPerSecond),
    vault: new Vault(vaultKey),
  });
  const timer = setInterval(() => {
    socket.receive();
    shard.tick();
  }, TICK_MS);
  const drops = new ReceiveDrops(probe.address, socket.port);
  const look = setInterval(async () => shard.dropped(await drops.take(monotonicMs())), DROPS_INTERVAL_MS);
  port.postMessage({ type: 'ready', probePort: socket.port });
  try {
    await new Promise<void>((resolve) => {
      port.on('message', (message: ToShard) => {
        if (message.type === 'stop') resolve();
        else shard.handle(message);
      });
      port.on('close', () => resolve());
    });
    return shard.checkpoint(true);
  } finally {
    clearInterval(timer);
    clearInterval(look);
    socket.close();
    port.close();
  }
}

/** One for all shards of this thread. */
function pacerOf(probesPerSecond: number): Pacer {
  pacer ??= new Pacer(probesPerSecond, monotonicMs());
  return pacer;
}
let pacer: Pacer | undefined;
