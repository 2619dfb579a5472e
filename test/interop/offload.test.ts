import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Action } from '../../proto/gen/dpd/v1/types_pb.js';
import { LAB_SKIP, Lab } from './lab.ts';
import { DETECTION_MS, eventually, Offload } from './offload.ts';

const EXTRAS = 15;
const SAS = EXTRAS + 1;

const CASES = [
  { name: 'AES-GCM, node on the hub', proposal: 'aes256gcm16-prfsha256-x25519', where: 'hub', flags: [] },
  {
    name: 'AES-CBC, node on a host beside the hub',
    proposal: 'aes256-sha256-x25519',
    where: 'node',
    flags: ['--node-address', '10.9.0.2', '--node-interface', 'dpd-hn'],
  },
] as const;

for (const { name, proposal, where, flags } of CASES)
  describe(name, { skip: LAB_SKIP, timeout: 400_000 }, () => {
    test('probes are the hub’s own, quiet and rekeying spokes live, a dead one fails over', async (t) => {
      const lab = await Lab.up({ proposal, extras: EXTRAS });
      if (where === 'node') await lab.addNodes(['node']);
      const offload = new Offload(lab, where, [...flags]);
      const capture = lab.capture('spoke-a', 'dpd-a');
      t.after(async () => {
        await capture.end();
        if (t.error) {
          process.stderr.write(offload.log);
          process.stderr.write(
            await lab
              .exec('hub', 'sh', '-c', 'ip route show table all | grep -v local; nft list ruleset; ip -s addr')
              .catch(String),
          );
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
      const parsedBefore = informationalResponses(lab.log('hub'));

      await eventually('hundreds of probes are answered', async () => (await offload.counters()).probesAnswered >= 300);
      assert.equal(informationalResponses(lab.log('hub')), parsedBefore, 'charon on the hub handled replies to probes');
      for (const sa of await lab.sas('spoke-a'))
        assert.equal(sa.remote.port, 4500, `a spoke's SA moved to port ${sa.remote.port}`);

      // Traffic through the tunnel suppresses probes.
      const before = (await offload.peer('spoke1'))[0]!;
      const suppressedBefore = (await offload.counters()).probesSuppressed;
      assert.equal(await lab.ping('spoke-a', 25), 25);
      const after = (await offload.peer('spoke1'))[0]!;
      assert(
        after.probesSent - before.probesSent <= 2,
        `${after.probesSent - before.probesSent} probes in 5 s of traffic`,
      );
      assert((await offload.counters()).probesSuppressed > suppressedBefore, 'no probe was counted as suppressed');

      // A spoke that rekeys its IKE SA stays watched, under its new SPIs.
      const oldSpi = (await offload.peer('spoke1'))[0]!.sa!.id!.responderSpi;
      await lab.rekeyIke('spoke-a', 'hub');
      await eventually('the rekeyed SA is probed', async () => {
        const peers = await offload.peer('spoke1').catch(() => []);
        return peers.some(({ sa, probesAnswered }) => sa!.id!.responderSpi !== oldSpi && probesAnswered >= 3);
      });
      assert.equal(offload.verdicts.length, 0, 'a live spoke was declared dead');

      lab.freeze('spoke-a');
      await eventually('every SA of the dead spoke has its verdict', () => offload.verdicts.length >= SAS);
      await sleep(DETECTION_MS);
      const main = offload.verdicts.filter(({ verdict }) => verdict.peerId === 'spoke1');
      assert.equal(main.length, 1);
      assert.equal(offload.verdicts.length, SAS);
      for (const { verdict, receivedUnix } of offload.verdicts) {
        const earliest = Number(verdict.history!.lastEvidenceUnixMs) + DETECTION_MS;
        const late = receivedUnix - earliest;
        assert(late >= -2, `verdict ${-late} ms before its earliest moment`);
        assert(late <= 1_000, `verdict ${late} ms after its earliest moment`);
      }
      assert.equal(main[0]!.verdict.action, Action.FAILOVER);
      await eventually('the tunnel stands through the second endpoint', async () => {
        const sas = await lab.sas('hub');
        return sas.length === 1 && sas[0]!.established && sas[0]!.remote.address === '198.51.100.10';
      });
      await eventually('pings through the second endpoint', async () => (await lab.ping('spoke-b', 3)) === 3);
      await eventually('the new SA is watched', async () => {
        const peers = await offload.peer('spoke1').catch(() => []);
        return peers.some(({ sa, probesAnswered }) => sa!.activeEndpoint === 1 && probesAnswered > 0);
      });

      // On the wire: all IKE from the hub to the spoke came from the hub's own port.
      await capture.end();
      const wire = await capture.read('src host 192.0.2.1 or src host 10.9.0.2');
      const ports = new Set(
        Array.from(wire.matchAll(/IP (\S+)\.(\d+) > /g), ([, address, port]) => `${address}:${port}`),
      );
      assert.deepEqual(
        [...ports].filter((source) => source !== '192.0.2.1:500'),
        ['192.0.2.1:4500'],
      );
    });
  });

/** Replies to INFORMATIONAL requests that charon has parsed. */
function informationalResponses(log: string): number {
  return log.match(/parsed INFORMATIONAL response/g)?.length ?? 0;
}
