import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LAB_SKIP, Lab } from './lab.ts';
import { DETECTION_MS, eventually, Offload } from './offload.ts';

const EXTRAS = 2;
const SAS = EXTRAS + 1;
/** The spokes' own DPD: they give the hub up after 6 s without an answer. */
const SPOKE_DPD = '2s';
const SPOKE_GIVES_UP_MS = 6_000;

const CASES = [
  { name: 'main mode, 3DES and SHA-1', ikev1: 'main', proposal: '3des-sha1-modp1024', where: 'hub', flags: [] },
  {
    name: 'main mode, AES-256 and SHA-256, node on a host beside the hub',
    ikev1: 'main',
    proposal: 'aes256-sha256-modp2048',
    where: 'node',
    flags: ['--node-address', '10.9.0.2', '--node-interface', 'dpd-hn'],
  },
  { name: 'aggressive mode', ikev1: 'aggressive', proposal: 'aes128-sha1-modp2048', where: 'hub', flags: [] },
] as const;

for (const { name, ikev1, proposal, where, flags } of CASES)
  describe(`IKEv1: ${name}`, { skip: LAB_SKIP, timeout: 200_000 }, () => {
    test('quiet spokes answer and live, what they say reaches charon, a dead one fails over', async (t) => {
      const lab = await Lab.up({ proposal, extras: EXTRAS, ikev1, spokeDpd: SPOKE_DPD });
      if (where === 'node') await lab.addNodes(['node']);
      const offload = new Offload(lab, where, [...flags]);
      t.after(async () => {
        if (t.error) {
          process.stderr.write(offload.log);
          process.stderr.write(await lab.exec('hub', 'nft', 'list', 'ruleset').catch(String));
        }
        await offload.stop();
        await lab.down();
      });
      await offload.startNode();
      offload.startAgent();
      await eventually(
        'all SAs are watched',
        async () => (await offload.counters().catch(() => undefined))?.peers === SAS,
      );
      offload.watch();
      await eventually('R-U-THEREs are answered', async () => (await offload.counters()).probesAnswered >= 10 * SAS);
      assert.equal((await offload.counters()).repliesForged, 0);

      // The spokes ask the hub, too: charon answers through the shard, and without any node.
      await sleep(SPOKE_GIVES_UP_MS + 2_000);
      assert.equal((await lab.sas('spoke-a')).length, SAS, 'a spoke gave the hub up');
      assert.equal(offload.verdicts.length, 0, 'a living spoke was declared dead');

      // A new SA takes over the children of the old one, whose end is another Informational.
      const capture = lab.capture('spoke-a', 'dpd-a');
      const oldSpi = (await offload.peer('spoke1'))[0]!.sa!.id!.responderSpi;
      await lab.rekeyIke('spoke-a', 'hub');
      await eventually('the SA that was set up anew is watched, and the old one is gone', async () => {
        const peers = await offload.peer('spoke1').catch(() => []);
        return peers.every(({ sa, probesAnswered }) => sa!.id!.responderSpi !== oldSpi && probesAnswered >= 3);
      });
      assert.equal(offload.verdicts.length, 0, 'a living spoke was declared dead while it set up its SA anew');
      await capture.end();
      const { initiatorSpi } = (await offload.peer('spoke1'))[0]!.sa!.id!;
      const row = `${initiatorSpi.toString(16).padStart(16, '0')},${encryptionKey(lab.log('hub'))}`;
      const read = await capture.decrypt(`uat:ikev1_decryption_table:${row}`, 'isakmp.exchangetype == 5');
      assert.match(read, /^192.0.2.1\t36136$/m, `tshark reads no question of ours:\n${read}`);
      assert.match(read, /^192.0.2.10\t36137$/m, `tshark reads no answer:\n${read}`);

      // A spoke's Delete is an Informational, too.
      await lab.terminate('spoke-a', 'hub-x1');
      await eventually('charon has heard the Delete', async () => (await lab.sas('hub')).length === SAS - 1);

      lab.freeze('spoke-a');
      await eventually('every SA of the dead spoke has its verdict', () => offload.verdicts.length >= SAS - 1);
      await sleep(DETECTION_MS);
      assert.equal(offload.verdicts.length, SAS - 1);
      for (const { verdict, receivedUnix } of offload.verdicts) {
        const late = receivedUnix - Number(verdict.history!.lastEvidenceUnixMs) - DETECTION_MS;
        assert(late >= -2, `verdict ${-late} ms before its earliest moment`);
      }
      await eventually('the tunnel stands through the second endpoint', async () => {
        const sas = await lab.sas('hub');
        return sas.length === 1 && sas[0]!.established && sas[0]!.remote.address === '198.51.100.10';
      });
      await eventually('the new SA is watched', async () => {
        const peers = await offload.peer('spoke1').catch(() => []);
        return peers.some(({ sa, probesAnswered }) => sa!.activeEndpoint === 1 && probesAnswered > 0);
      });

      // Without a node the spokes' Informationals go to charon as if there were none of us.
      await offload.end('agent', 'SIGKILL');
      await offload.end('node', 'SIGKILL');
      await sleep(SPOKE_GIVES_UP_MS + 4_000);
      assert.equal((await lab.sas('spoke-b')).length, 1, 'a spoke gave the hub up');
    });
  });

/** The key of the SA that was set up last, as charon logged it, in hex. */
function encryptionKey(log: string): string {
  const [, lines] = log
    .split(/encryption key Ka => .*\n/)
    .at(-1)!
    .match(/^((?:.*\] +\d+: .*\n)+)/) ?? ['', ''];
  return lines!
    .split('\n')
    .map((line) => /\] +\d+: ((?:[0-9A-F]{2} )+)/.exec(line)?.[1]?.replaceAll(' ', '') ?? '')
    .join('')
    .toLowerCase();
}
