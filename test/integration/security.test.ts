import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { readdirSync, readFileSync, readlinkSync as readlink, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { identityOf } from '../../loadtest/spokes/fleet.ts';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Offset } from '../../workers/ikev2/header.ts';
import { eventually } from '../eventually.ts';
import { HEADEND, Rig } from './rig.ts';

test('IKE keys are nowhere in the clear: not in Redis, logs or operator answers', async (t) => {
  const spokes = 30;
  const rig = await Rig.start({ spokes });
  t.after(() => rig.stop());
  await rig.startAgent();
  rig.responder.kill(0, 0);
  await eventually('a verdict', 10_000, () => rig.verdicts.length === 1);
  const { peers } = await rig.client.unary(OperatorService.method.listPeers, { headend: HEADEND });
  for (const { sa, hasKeys } of peers) assert(hasKeys && sa!.keys === undefined);
  const data = join(rig.directory, 'data');
  const files = readdirSync(data, { recursive: true, encoding: 'utf8' }).map((name) => join(data, name));
  const contents = files.filter((file) => statSync(file).isFile()).map((file) => readFileSync(file));
  contents.push(
    Buffer.from(rig.node.log),
    Buffer.from(JSON.stringify(peers, (_, value) => (typeof value === 'bigint' ? String(value) : value))),
  );
  assert(
    contents.some((bytes) => bytes.includes('spoke-7')),
    'the scan would find nothing',
  );
  for (let spoke = 0; spoke < spokes; spoke++) {
    const { skEi, skEr, skAi, skAr } = identityOf('rig', spoke, 0);
    for (const key of [skEi, skEr, skAi, skAr].filter(({ length }) => length > 0))
      for (const form of ['latin1', 'hex', 'base64'] as const) {
        const needle = form === 'latin1' ? Buffer.from(key) : Buffer.from(Buffer.from(key).toString(form).slice(0, 24));
        assert(
          !contents.some((bytes) => bytes.includes(needle)),
          `a key of spoke ${spoke} stands in the clear as ${form}`,
        );
      }
  }
  assert.equal(statSync(join(data, 'vault.key')).mode & 0o777, 0o600);
});

test('datagrams that prove nothing are counted and change nothing', async (t) => {
  // Its sockets are looked for, which another user than root may do only so.
  const rig = await Rig.start({ spokes: 2, nodeEnv: { DPD_CORE_DUMPS: 'true' } });
  t.after(() => rig.stop());
  await rig.startAgent();
  rig.responder.kill(0, 0);
  // An attacker on the path sees the probes of the dead spoke and answers for it, as well as it can without keys.
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  const seen: Buffer[] = [];
  const ports = new Set<number>();
  const answer = rig.responder.answer.bind(rig.responder);
  const counters = async () =>
    (await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND })).shards;
  rig.responder.answer = (request) => {
    seen.push(Buffer.from(request));
    return answer(request);
  };
  await eventually('a verdict in spite of forged replies', 10_000, async () => {
    for (const shard of await shardPorts(rig)) ports.add(shard);
    for (const request of seen.splice(0)) {
      const reply = Buffer.from(request);
      reply[Offset.FLAGS] = 0x28;
      const garbage = Buffer.from(reply.subarray(0, 30));
      for (const port of ports) {
        socket.send(reply, port, '127.0.0.1');
        socket.send(garbage, port, '127.0.0.1');
      }
    }
    return rig.verdicts.length > 0;
  });
  assert.deepEqual(
    rig.verdicts.map(({ peerId }) => peerId),
    ['spoke-0'],
  );
  const shards = await counters();
  const sum = (name: 'repliesForged' | 'repliesMalformed' | 'repliesUnknownSa' | 'repliesReplayed') =>
    shards.reduce((total, shard) => total + Number(shard[name]), 0);
  assert(sum('repliesForged') > 0, 'no forged reply was counted');
  assert(sum('repliesMalformed') > 0, 'no malformed reply was counted');
});

/** UDP ports of the node's probe sockets, from the kernel. */
async function shardPorts(rig: Rig): Promise<number[]> {
  const sockets = readFileSync(`/proc/${rig.node.process.pid}/net/udp`, 'utf8');
  const own = new Set(
    readdirSync(`/proc/${rig.node.process.pid}/fd`).flatMap((fd) => {
      try {
        return /socket:\[(\d+)\]/.exec(readlink(`/proc/${rig.node.process.pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  return sockets
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      return own.has(fields[9] ?? '') ? [Number.parseInt(fields[1]!.split(':')[1]!, 16)] : [];
    });
}
