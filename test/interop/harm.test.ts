import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { LAB_SKIP, Lab, type LabOptions } from './lab.ts';
import { DETECTION_MS, eventually, Offload } from './offload.ts';

const PROPOSAL = 'aes256gcm16-prfsha256-x25519';
const OPTIONS = { skip: LAB_SKIP, timeout: 400_000 };
/** What a careful hub lets in: IKE and ESP in UDP, and loopback. */
const FIREWALL = `flush ruleset
table inet firewall {
  chain input { type filter hook input priority 0; policy drop;
    iif lo accept
    udp dport { 500, 4500 } accept
  }
  chain output { type filter hook output priority 0; policy drop;
    oif lo accept
    udp sport { 500, 4500 } accept
  }
}
`;

async function started(t: TestContext, options: Partial<LabOptions>, ...flags: string[]) {
  const lab = await Lab.up({ proposal: PROPOSAL, extras: 0, ...options });
  const offload = new Offload(lab);
  t.after(async () => {
    if (t.error) process.stderr.write(offload.log);
    await offload.stop();
    await lab.down();
  });
  const asked = (peers: number) =>
    eventually(`${peers} peers are asked`, async () => {
      const all = await offload.peers().catch(() => []);
      return new Set(all.filter((peer) => peer.probesAnswered > 1).map(({ sa }) => sa!.peerId)).size >= peers;
    });
  const probing = async (what: string) => {
    const { probesAnswered } = await offload.counters();
    await eventually(what, async () => (await offload.counters()).probesAnswered > probesAnswered + 6);
  };
  await offload.startNode();
  offload.startAgent(...flags);
  return { lab, offload, asked, probing };
}

test(
  'a hub that lets in and out IKE alone, its firewall loaded again under way: probing goes on, nobody is judged',
  OPTIONS,
  async (t) => {
    const { lab, offload, asked, probing } = await started(t, { extras: 2 });
    const file = join(lab.directory, 'firewall.nft');
    writeFileSync(file, FIREWALL);
    await asked(3);
    offload.watch();
    for (let round = 0; round < 3; round++) {
      await lab.exec('hub', 'nft', '-f', file);
      await probing(`probing with the firewall loaded, round ${round}`);
    }
    await sleep(2 * DETECTION_MS);
    assert.equal(offload.verdicts.length, 0);
    assert.equal((await lab.sas('hub')).filter(({ established }) => established).length, 3);
  },
);

test(
  'a spoke with tunnels to two of the hub’s addresses, and one that the cluster refuses: each asked from its own, the refused named',
  OPTIONS,
  async (t) => {
    const long = `${'x'.repeat(130)}.example`;
    const { lab, offload, asked } = await started(t, { extras: 2, second: true, firstExtra: long });
    await asked(3);
    offload.watch();
    await sleep(2 * DETECTION_MS);
    const sas = await lab.sas('spoke-a');
    assert.deepEqual(
      sas
        .map(({ remote, connection }) => [connection, remote.address, remote.port])
        .filter(([name]) => name === 'hub' || name === 'hub-2')
        .sort(),
      [
        ['hub', '192.0.2.1', 4500],
        ['hub-2', '192.0.2.2', 4500],
      ],
    );
    assert.equal(offload.verdicts.length, 0);
    assert.equal(sas.length, 4);
    assert.match(offload.log, new RegExp(`"peer":"${long}","why":"peer_id: .*SA not watched`));
    const leftOut = await offload.client.unary(OperatorService.method.listLeftOut, {});
    assert.equal(leftOut.total, 1);
    assert.match(leftOut.sas[0]!.why, /peer_id/);
  },
);

test('a spoke that restarts, its old SA still there: it goes, and the peer is not failed over', OPTIONS, async (t) => {
  const { lab, offload, asked } = await started(t, {});
  await asked(1);
  offload.watch();
  await lab.restart('spoke-a');
  await lab.initiate('spoke-a', 'net');
  await eventually('the old SA has its verdict', () => offload.verdicts.length === 1);
  await eventually('one SA is left, at the first endpoint', async () => {
    const sas = await lab.sas('hub');
    return sas.length === 1 && sas[0]!.established && sas[0]!.remote.address === '192.0.2.10';
  });
  await eventually('it says why', () => /"outcome":"CLEARED","detail":"spoke1 is up on SA/.test(offload.log));
  assert.equal(await lab.ping('spoke-a', 5), 5);
  await asked(1);
  await sleep(2 * DETECTION_MS);
  assert.equal(offload.verdicts.length, 1);
});

test(
  'probes that a spoke does not answer while its packets come: the last look finds it alive, and it is watched on',
  OPTIONS,
  async (t) => {
    // Counters are read too seldom to be evidence.
    const { lab, offload, asked } = await started(t, {}, '--poll', '600000');
    await asked(1);
    offload.watch();
    const deaf =
      'table ip deaf { chain in { type filter hook input priority 0; udp dport 4500 @th,64,32 0x0 drop; }; }';
    const pinged = lab.ping('spoke-a', 80);
    await lab.exec('spoke-a', 'nft', deaf);
    await eventually('it has a verdict', () => offload.verdicts.length > 0);
    await eventually('the last look', () => /"outcome":"PEER_ALIVE"/.test(offload.log));
    await lab.exec('spoke-a', 'nft', 'delete', 'table', 'ip', 'deaf');
    assert((await pinged) >= 75, 'the tunnel was torn down');
    const { probesAnswered } = (await offload.peer('spoke1'))[0]!;
    await eventually('it is asked on', async () => (await offload.peer('spoke1'))[0]!.probesAnswered > probesAnswered);
    // When the peer really dies, its SA is deleted.
    lab.freeze('spoke-a');
    await eventually('it fails over', async () =>
      (await lab.sas('hub')).some(({ established, remote }) => established && remote.address === '198.51.100.10'),
    );
  },
);

test('charon on the hub restarts under watch: what comes up anew is watched', OPTIONS, async (t) => {
  const { lab, offload, asked } = await started(t, { extras: 1 });
  await asked(2);
  offload.watch();
  await lab.restart('hub');
  await lab.restart('spoke-a');
  await sleep(3_000);
  const old = new Set((await offload.peers()).map(({ sa }) => sa!.id!.responderSpi));
  await lab.initiate('spoke-a', 'net');
  await lab.initiate('spoke-a', 'x1');
  await eventually('both are asked again', async () => {
    const peers = (await offload.peers()).filter(
      ({ sa, probesAnswered }) => !old.has(sa!.id!.responderSpi) && probesAnswered > 1,
    );
    return peers.length === 2;
  });
  assert.equal((await lab.sas('hub')).filter(({ established }) => established).length, 2);
});
