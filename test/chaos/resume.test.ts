import assert from 'node:assert/strict';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LIVES } from '../../loadtest/spokes/fleet.ts';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Mode } from '../../proto/gen/dpd/v1/types_pb.js';
import { shardOf, spiHex } from '../../services/api/spi.ts';
import { shardKeys } from '../../services/store/keys.ts';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, Rig } from '../integration/rig.ts';

test('a node killed and started again: no SA lost, ids continue, no false verdict, the dead found', async (t) => {
  const spokes = 300;
  const dead = [3, 77, 150, 151, 299];
  const rig = await Rig.start({ spokes });
  t.after(() => rig.stop());
  await rig.startAgent();
  await eventually('everyone was probed', 10_000, async () => (await rig.count('probesAnswered')) >= 2 * spokes);

  await rig.node.stop('SIGKILL');
  for (const spoke of dead) rig.responder.kill(spoke, 0);
  await sleep(500);
  const answered = rig.responder.answered;
  await rig.startNode();
  assert.equal(await rig.count('peers'), spokes);

  await eventually('the dead are found', DETECTION_MS + 10_000, () => rig.verdicts.length >= dead.length);
  await eventually('the living answer', 10_000, () => rig.responder.answered - answered >= 2 * (spokes - dead.length));
  await sleep(2 * DETECTION_MS);
  assert.deepEqual(rig.verdicts.map(({ peerId }) => peerId).sort(), dead.map((spoke) => `spoke-${spoke}`).sort());
  const { peers } = await rig.client.unary(OperatorService.method.listPeers, { headend: HEADEND, pageSize: 1_000 });
  assert.equal(peers.length, spokes - dead.length);
  for (const { sa, probesAnswered } of peers) assert(probesAnswered > 0, `${sa!.peerId} does not answer any more`);
});

test('an SA that cannot be read any more is left out, and its headend registers it again: its id is looked for', async (t) => {
  const rig = await Rig.start({ spokes: 20 });
  t.after(() => rig.stop());
  await rig.startAgent();
  const spoiled = rig.sa(3);
  const redis = await connectRedis(rig.redisUrl);
  const { sas } = shardKeys({ headend: HEADEND, shard: shardOf(spoiled.id!.responderSpi, rig.fleet.shards) });
  assert.equal(await redis.hset(sas, spiHex(spoiled.id!), Buffer.from('0a7f', 'hex')), 0);
  redis.disconnect();
  await rig.node.stop();
  await rig.startNode();
  await eventually('all are watched', 20_000, async () => (await rig.count('peers')) === 20);
  assert.match(rig.node.log, /SA left out: what Redis has of it cannot be read/);
  const before = rig.responder.lastAnswer.slice();
  const answersAgain = (spoke: number) => rig.responder.lastAnswer[spoke * LIVES]! > before[spoke * LIVES]!;
  await eventually('and all answer', 20_000, () => Array.from({ length: 20 }, (_, n) => n).every(answersAgain));
  assert.deepEqual(rig.verdicts, []);
});

test('an SA whose keys do not open any more is left out as well, though the node finds out later', async (t) => {
  const rig = await Rig.start({ spokes: 40 });
  t.after(() => rig.stop());
  await rig.startAgent();
  const { sas } = shardKeys({ headend: HEADEND, shard: 0 });
  const redis = await connectRedis(rig.redisUrl);
  const records = Object.entries(await redis.hgetallBuffer(sas));
  // More than one, because the first one of a shard is opened at once.
  for (const [spi, record] of records.slice(0, 3)) {
    record[record.length - 1]! ^= 1;
    await redis.hset(sas, spi, record);
  }
  redis.disconnect();
  await rig.node.stop();
  await rig.startNode();
  const leftOut = () => rig.node.log.match(/SA left out: what Redis has of it cannot be read/g)?.length;
  await eventually('they are given up', 20_000, () => leftOut() === 3);
  await eventually('and given again', 20_000, async () => (await rig.count('peers')) === 40);
  const before = rig.responder.lastAnswer.slice();
  const answersAgain = (spoke: number) => rig.responder.lastAnswer[spoke * LIVES]! > before[spoke * LIVES]!;
  await eventually('and all answer', 20_000, () => Array.from({ length: 40 }, (_, n) => n).every(answersAgain));
  assert.deepEqual(rig.verdicts, []);
});

test('100,000 SAs whose stream breaks half way end complete', async (t) => {
  const spokes = 100_000;
  let proxy: Server | undefined;
  let passed = 0;
  let cuts = 0;
  const sockets = new Set<Socket>();
  const rig = await Rig.start({
    spokes,
    policy: { mode: Mode.DISABLED },
    agentAddress: async (address) => {
      proxy = createServer((agent) => {
        const node = connect(address.slice('unix:'.length));
        for (const socket of [agent, node]) {
          sockets.add(socket);
          socket.on('error', () => {});
          socket.on('close', () => {
            sockets.delete(socket);
            agent.destroy();
            node.destroy();
          });
        }
        node.pipe(agent);
        agent.on('data', (bytes) => {
          passed += bytes.length;
          // An SA takes about 200 bytes on the wire: cut at a quarter, and again at half of what then is left.
          if ((cuts === 0 && passed > 5e6) || (cuts === 1 && passed > 12e6)) {
            cuts++;
            for (const socket of sockets) socket.destroy();
          } else node.write(bytes);
        });
      });
      await new Promise<void>((resolve) => proxy!.listen(0, '127.0.0.1', resolve));
      return `127.0.0.1:${(proxy.address() as { port: number }).port}`;
    },
  });
  t.after(async () => {
    await rig.stop();
    proxy?.close();
    for (const socket of sockets) socket.destroy();
  });
  await rig.startAgent({ settleMs: 120_000, proven: false });
  assert.equal(cuts, 2, 'the stream was not cut');
  assert.equal(await rig.count('peers'), spokes);
  // And they are in Redis, not only in memory.
  await rig.node.stop('SIGKILL');
  await rig.startNode();
  assert.equal(await rig.count('peers'), spokes);
});
