import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { LAB_SKIP, Lab } from './lab.ts';
import { AGENT_MAIN, DETECTION_MS, eventually, HEADEND, NODE_MAIN, Offload, SHARDS } from './offload.ts';

const EXTRAS = 7;
const SAS = EXTRAS + 1;
const NODES = [
  { name: 'one', host: 'node', address: '10.9.0.2' },
  { name: 'two', host: 'node-2', address: '10.9.0.3' },
] as const;

test('two concentrators share a hub: one dies, the hub steers its shards to the other, every spoke lives', {
  skip: LAB_SKIP,
  timeout: 400_000,
}, async (t) => {
  const lab = await Lab.up({ proposal: 'aes256gcm16-prfsha256-x25519', extras: EXTRAS });
  await lab.addNodes(NODES.map(({ host }) => host));
  const offload = new Offload(lab, 'node');
  const redis = await EmbeddedRedis.start(join(lab.directory, 'redis'));
  const socket = (name: string) => `unix:${join(lab.directory, `${name}.sock`)}`;
  const clients = NODES.map(({ name }) => new ApiClient(plaintext(socket(name))));
  const vaultKey = join(lab.directory, 'vault.key');
  writeFileSync(vaultKey, randomBytes(32).toString('base64'), { mode: 0o600 });
  const nodes = NODES.map(({ name, host, address }) =>
    offload.spawn(host, NODE_MAIN, [
      ...['--address', socket(name), '--node-id', name, '--redis-url', redis.url, '--vault-key-file', vaultKey],
      ...['--probe-address', address, '--storm-share', '0'],
    ]),
  );
  t.after(async () => {
    if (t.error)
      process.stderr.write(`${offload.log}\n${await lab.exec('hub', 'nft', 'list', 'ruleset').catch(String)}`);
    for (const node of nodes) node.kill('SIGKILL');
    for (const client of clients) client.close();
    await offload.stop();
    await redis.stop();
    await lab.down();
  });
  const counters = (n: number) =>
    clients[n]!.unary(OperatorService.method.getCounters, { headend: HEADEND }, 1_000).then(
      ({ shards }) => shards,
      () => [],
    );
  await eventually('both serve', async () => {
    const states = await Promise.allSettled(
      clients.map((client) => client.unary(OperatorService.method.getClusterState, {}, 1_000)),
    );
    return states.every(({ status }) => status === 'fulfilled');
  });
  offload.agent = offload.spawn('hub', AGENT_MAIN, [
    ...['--address', NODES.map(({ name }) => socket(name)).join(','), '--headend', HEADEND],
    ...['--shards', String(SHARDS), '--vici-socket', lab.viciSocket('hub'), '--poll', '500'],
    ...['--peers', join(lab.directory, 'peers.json'), '--node-address', '10.9.0.2', '--node-interface', 'dpd-hn'],
  ]);
  const answered = async (n: number) =>
    (await counters(n)).reduce((sum, { probesAnswered }) => sum + Number(probesAnswered), 0);
  await eventually('a shard is with each, and both probe through the hub', async () => {
    const each = await Promise.all([counters(0), counters(1)]);
    return each.every((shards) => shards.length === 1) && (await answered(0)) >= 10 && (await answered(1)) >= 10;
  });

  const killed = Date.now();
  nodes[0]!.kill('SIGKILL');
  await eventually('the other probes all spokes', async () => {
    const shards = await counters(1);
    return (
      shards.length === SHARDS &&
      shards.every(({ peers, alive, probesAnswered }) => alive === peers && Number(probesAnswered) >= Number(peers)) &&
      shards.reduce((sum, { peers }) => sum + peers, 0) === SAS
    );
  });
  t.diagnostic(`every spoke was probed again after ${Date.now() - killed} ms`);
  await sleep(3 * DETECTION_MS);
  const shards = await counters(1);
  assert.equal(
    shards.reduce((sum, { verdicts }) => sum + Number(verdicts), 0),
    0,
    'a live spoke was declared dead',
  );
  assert.equal((await lab.sas('hub')).filter(({ established }) => established).length, SAS);
  assert.equal(await lab.ping('spoke-a', 3), 3);
  for (const sa of await lab.sas('spoke-a'))
    assert.equal(sa.remote.port, 4500, `a spoke's SA moved to port ${sa.remote.port}`);
});
