/** The Piscina task: owns one shard until told to stop. Resolves with the shard's last checkpoint. */

import { threadId } from 'node:worker_threads';
import { always } from '../base/always.ts';
import { monotonicMs } from '../base/monotonic.ts';
import { pooledRandom } from '../crypto/random.ts';
import { Vault } from '../keys/vault.ts';
import { POLICY_LIMITS } from '../liveness/policy-limits.ts';
import { TICK_MS } from '../liveness/wheel.ts';
import { useProbeSocket } from '../net/open-probe-socket.ts';
import { ReceiveDrops } from '../net/receive-drops.ts';
import type { CheckpointPart } from '../takeover/checkpoint.ts';
import { Pacer } from './pacer.ts';
import type { ShardTask, ToShard } from './protocol.ts';
import { rest } from './rest.ts';
import { Shard } from './shard.ts';

/** Longest time between two turns, ms: an idle node sleeps. */
const REST_MS = 40;
always(4 * REST_MS < POLICY_LIMITS.retryIntervalMs.min, 'a rest is no time that nobody watched');
/**
 * How often the kernel's drop counter is read, ms: within a retry interval, so that drops are known before a verdict.
 */
const DROPS_INTERVAL_MS = 150;
always(DROPS_INTERVAL_MS + REST_MS <= POLICY_LIMITS.retryIntervalMs.min, 'drops are known before a verdict');

export default async function runShard({
  port,
  probe,
  shard: number,
  probesPerSecond,
  zeroUnix,
  vaultKeys,
}: ShardTask): Promise<CheckpointPart> {
  const vault = new Vault(vaultKeys);
  let arrived = false;
  const socket = await useProbeSocket(
    probe,
    (datagram, sender) => {
      arrived = true;
      shard.receive(datagram, sender);
    },
    (handle) => shard.sendFailed(handle),
  );
  const shard: Shard = new Shard({
    now: monotonicMs,
    wall: () => zeroUnix + monotonicMs(),
    fillRandom: pooledRandom(),
    send: (message, address, toPort, handle) => socket.send(message, address, toPort, handle),
    post: (message) => port.postMessage(message),
    pacer: pacerOf(probesPerSecond),
    vault,
    shard: number,
  });
  const drops = [probe, probe.v6].flatMap((place) => (place ? new ReceiveDrops(place.address, socket.port) : []));
  const look = async () => {
    // Drops put only a suspicion in doubt; datagrams received before it must not hide them.
    const asked = shard.suspects ? drops : [];
    const counts = await Promise.all(asked.map((each) => each.readNew(monotonicMs())));
    shard.dropped(counts.reduce((sum, count) => sum + count, 0));
  };
  let lookAt = monotonicMs();
  const turn = () => {
    arrived = false;
    socket.receive();
    shard.tick();
    const now = monotonicMs();
    if (now >= lookAt) {
      lookAt = now + DROPS_INTERVAL_MS;
      void look();
    }
    const idleMs = Math.min(shard.idleUntilMs - now, REST_MS);
    const busy = arrived || shard.suspects || idleMs <= TICK_MS;
    cancelTurn = busy ? soon(turn) : rest(turn, Math.ceil(idleMs));
  };
  let cancelTurn = soon(turn);
  port.postMessage({ type: 'ready', probePort: socket.port, threadId });
  try {
    await new Promise<void>((resolve) => {
      port.on('message', (message: ToShard) => {
        if (message.type === 'stop') resolve();
        else if (message.type === 'vaultKeys') vault.use(message.keys);
        else shard.handle(message);
      });
      port.on('close', () => resolve());
    });
    return shard.checkpoint(true);
  } finally {
    cancelTurn();
    shard.wipe();
    socket.close();
    port.close();
  }
}

/** Schedules the next turn of a busy shard. The function returned cancels it. */
function soon(turn: () => void): () => void {
  const timer = setTimeout(turn, TICK_MS);
  return () => clearTimeout(timer);
}

/** One for all shards of this thread. */
function pacerOf(probesPerSecond: number): Pacer {
  pacer ??= new Pacer(probesPerSecond, monotonicMs());
  return pacer;
}
let pacer: Pacer | undefined;
