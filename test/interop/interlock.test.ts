import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Peer, PeerState } from '../../proto/gen/dpd/v1/operator_pb.js';
import { renderRules } from '../../services/agent/headend/nftables/rules.ts';
import { encodeMidInitiator } from '../../services/agent/headend/strongswan/ha/ha-message.ts';
import { spiHex } from '../../services/api/spi.ts';
import { LAB_SKIP, Lab } from './lab.ts';
import { eventually, Offload } from './offload.ts';

const PROPOSAL = 'aes256gcm16-prfsha256-x25519';
const EXTRAS = 3;
const SAS = EXTRAS + 1;
const PORTS = [14_500, 14_501];

describe('the way out', { skip: LAB_SKIP, timeout: 400_000 }, () => {
  test('rules never installed, or flushed: no probe, no verdict, visible; probing resumes with the rules', async (t) => {
    const lab = await Lab.up({ proposal: PROPOSAL, extras: EXTRAS });
    const offload = new Offload(lab, 'hub', ['--manage-rules', 'false']);
    const capture = lab.capture('spoke-a', 'dpd-a');
    t.after(async () => {
      await capture.end();
      await offload.stop();
      await lab.down();
    });
    const rules = join(lab.directory, 'rules.nft');
    writeFileSync(
      rules,
      renderRules({
        steering: { kind: 'local' },
        probes: PORTS.map((port) => ({ address: '', address6: '', port })),
        ways: ['192.0.2.1'],
        care: [],
      }),
    );
    const install = () => lab.exec('hub', 'nft', '-f', rules);
    const blocked = () =>
      eventually('every SA is blocked', async () => {
        const peers = await offload.peers();
        return peers.length === SAS && peers.every(({ state }) => state === PeerState.BLOCKED);
      });
    const probing = async () => {
      const { probesAnswered } = await offload.counters();
      await eventually('probing', async () => (await offload.counters()).probesAnswered >= probesAnswered + 3 * SAS);
    };

    await offload.startNode();
    offload.startAgent();
    await eventually(
      'all SAs are watched',
      async () => (await offload.counters().catch(() => undefined))?.peers === SAS,
    );
    offload.watch();
    await blocked();
    await sleep(3_000);
    assert.equal((await offload.counters()).probesSent, 0, 'probes without rules');

    await install();
    await probing();

    for (const chain of ['out', 'home', 'answers']) {
      await lab.exec('hub', 'nft', 'flush', 'chain', 'ip', 'dpd_offload', chain);
      await blocked();
      await sleep(3_000);
      await install();
      await probing();
    }
    // A fault that leaves our rules alone, but stops answers.
    await lab.exec('hub', 'nft', 'flush', 'set', 'ip', 'dpd_offload', 'care');
    await blocked();
    await install();
    await probing();

    await lab.exec('hub', 'nft', 'flush', 'ruleset');
    await blocked();
    await install();
    await probing();

    assert.equal(offload.verdicts.length, 0, 'a verdict while the way out was broken');
    assert.equal((await lab.sas('hub')).length, SAS);
    await capture.end();
    const strays = await capture.read('src host 192.0.2.1 and not src port 4500 and not src port 500 and udp[8:4] = 0');
    assert.equal(strays, '', 'a probe left from a wrong port');
    for (const sa of await lab.sas('spoke-a')) assert.equal(sa.remote.port, 4500);
  });
});

describe('the way back', { skip: LAB_SKIP, timeout: 400_000 }, () => {
  test('late replies find a parked SA, a standing rule, or an SA given back at its true id', async (t) => {
    const lab = await Lab.up({ proposal: PROPOSAL, extras: EXTRAS });
    const offload = new Offload(lab);
    t.after(async () => {
      if (t.error) process.stderr.write(offload.log);
      await offload.stop();
      await lab.down();
    });
    const alive = async () =>
      (await lab.sas('hub'))
        .filter(({ established }) => established)
        .map(({ remoteId }) => remoteId)
        .sort();
    const everyone = ['extra1', 'extra2', 'extra3', 'spoke1'];
    const probing = async (sas: number) => {
      const before = new Map(
        (await offload.peers().catch(() => [])).map((peer) => [peer.sa!.peerId, peer.probesAnswered]),
      );
      await eventually('probing', async () => {
        const peers = await offload.peers().catch(() => []);
        const answered = ({ sa, probesAnswered }: Peer) => probesAnswered >= (before.get(sa!.peerId) ?? 0) + 2;
        return peers.length === sas && peers.every(answered);
      });
    };
    /** Stops the spoke with an unanswered probe of every SA in its socket. */
    const holdReplies = async () => {
      lab.freeze('spoke-a');
      // Answers from just before the stop are counted first.
      await sleep(200);
      const before = new Map((await offload.peers()).map((peer) => [peer.sa!.peerId, peer.probesSent]));
      await eventually('a probe of every SA is unanswered', async () => {
        const now = await offload.peers();
        return now.every(({ sa, probesSent }) => probesSent > before.get(sa!.peerId)!);
      });
    };
    const kill = async () => {
      await Promise.all([offload.end('agent', 'SIGKILL'), offload.end('node', 'SIGKILL')]);
    };
    const restart = async (sas: number) => {
      await offload.startNode();
      const before = offload.log.length;
      offload.startAgent();
      // The node goes on with the data in Redis before its agent is there.
      await eventually('the agent is back', () => offload.log.slice(before).includes('"ready":true'));
      await probing(sas);
    };

    await offload.startNode();
    offload.startAgent();
    await probing(SAS);
    offload.watch();

    // The agent is killed between probe and reply, but the rule stays: the reply does not reach charon.
    await holdReplies();
    await kill();
    lab.thaw('spoke-a');
    await sleep(1_500);
    assert.deepEqual(await alive(), everyone);
    assert.match(
      await lab.exec('hub', 'nft', 'list', 'table', 'ip', 'dpd_offload'),
      /udp dport set/,
      'the inbound rule is gone',
    );
    await restart(SAS);

    // The inbound rule flushed under probing: replies reach charon, which ignores them.
    // The agent would put it back at once.
    offload.agent!.kill('SIGSTOP');
    await lab.exec('hub', 'nft', 'flush', 'chain', 'ip', 'dpd_offload', 'answers');
    await eventually('a reply reaches charon', () => /expected [12]\d{9}, ignored/.test(lab.log('hub')));
    offload.agent!.kill('SIGCONT');
    assert.deepEqual(await alive(), everyone);
    await probing(SAS);

    // The agent stops cleanly between probe and reply: SAs are given back at the true ids, and the rules go last.
    await holdReplies();
    const stopped = offload.end('agent', 'SIGTERM');
    await sleep(500);
    lab.thaw('spoke-a');
    await stopped;
    await offload.end('node', 'SIGTERM');
    assert.doesNotMatch(await lab.exec('hub', 'nft', 'list', 'ruleset'), /dpd_offload/);
    assert.deepEqual(await alive(), everyone);
    // charon's own next request carries an id that the spoke answers.
    const before = (await lab.sas('hub')).find(({ remoteId }) => remoteId === 'extra3')!;
    await lab.rekeyIke('hub', 'extra3');
    await eventually('the hub itself rekeys an SA given back', async () => {
      const sas = (await lab.sas('hub')).filter(({ remoteId }) => remoteId === 'extra3');
      return sas.length === 1 && sas[0]!.established && sas[0]!.spi !== before.spi;
    });
    await restart(SAS);

    // The agent stops cleanly while the ids are not known: the SAs stay parked, and the next agent gets their keys from charon.
    lab.freeze('spoke-a');
    await kill();
    const again = offload.log.length;
    const said = (what: RegExp) => what.test(offload.log.slice(again));
    await offload.startNode();
    offload.startAgent();
    await eventually('the agent goes on', () => said(/going on where a former agent stopped/));
    await offload.end('agent', 'SIGTERM');
    assert(said(/"stayParked":4/), 'given back with ids that nobody knows');
    lab.thaw('spoke-a');
    offload.startAgent();
    await probing(SAS);
    assert.deepEqual(await alive(), everyone);

    // This is what parking and rules prevent: without the inbound rule a late reply destroys an SA that is not parked.
    await holdReplies();
    const victim = (await offload.peer('extra1'))[0]!;
    await kill();
    await lab.exec('hub', 'nft', 'flush', 'chain', 'ip', 'dpd_offload', 'answers');
    const { id } = (await lab.sas('hub')).find(({ spi }) => spi === spiHex(victim.sa!.id!))!;
    const unpark = encodeMidInitiator(3, id, victim.nextMessageId - 1).toString('hex');
    await lab.exec(
      'hub',
      process.execPath,
      '-e',
      `const s = require('dgram').createSocket('udp4');
       s.bind(4510, '127.0.0.2', () => s.send(Buffer.from('${unpark}', 'hex'), 4510, '127.0.0.3', () => setTimeout(() => s.close(), 300)));`,
    );
    lab.thaw('spoke-a');
    await eventually('the unparked SA dies', async () => !(await alive()).includes('extra1'));
    assert.deepEqual(await alive(), ['extra2', 'extra3', 'spoke1']);
    assert.equal(offload.verdicts.length, 0);
  });
});

describe('an agent that comes back', { skip: LAB_SKIP, timeout: 400_000 }, () => {
  test('an SA set up while it was away is rekeyed to learn its keys', async (t) => {
    const lab = await Lab.up({ proposal: PROPOSAL, extras: 2, late: 1 });
    const offload = new Offload(lab);
    t.after(async () => {
      if (t.error) process.stderr.write(offload.log);
      await offload.stop();
      await lab.down();
    });
    await offload.startNode();
    offload.startAgent();
    await eventually(
      'probing',
      async () => ((await offload.counters().catch(() => undefined))?.probesAnswered ?? 0) >= 4,
    );
    await offload.end('agent', 'SIGKILL');
    await lab.initiate('spoke-a', 'x2');
    const gap = (await lab.sas('hub')).find(({ remoteId }) => remoteId === 'extra2')!;
    offload.watch();
    offload.startAgent();
    await eventually('the late SA is probed', async () => {
      const peers = await offload.peer('extra2').catch(() => []);
      return peers.some(({ probesAnswered }) => probesAnswered >= 3);
    });
    const sas = (await lab.sas('hub')).filter(({ remoteId }) => remoteId === 'extra2');
    assert.equal(sas.length, 1, 'charon did not hear that the old SA was deleted');
    assert.notEqual(sas[0]!.spi, gap.spi);
    assert.equal((await lab.sas('hub')).length, 3);
    assert.equal(offload.verdicts.length, 0);
  });
});
