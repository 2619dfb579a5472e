import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PeerState } from '../../proto/gen/dpd/v1/operator_pb.js';
import { spiHex } from '../../services/api/spi.ts';
import { LAB_SKIP, Lab } from './lab.ts';
import { eventually, Offload } from './offload.ts';

const EXTRAS = 2;
const SAS = EXTRAS + 1;
/** For a soak: so many minutes at a real hub's pace, instead of 45 s at a fast pace. */
const SOAK_MINUTES = Number(process.env['DPD_SOAK_MINUTES'] ?? 0);
/** How long the hub is watched, ms: several rekeyings of each IKE SA, and a dozen of each child. */
const WATCHED_MS = SOAK_MINUTES > 0 ? SOAK_MINUTES * 60_000 : 45_000;
const REKEY = SOAK_MINUTES > 0 ? { ike: '40s', child: '15s' } : { ike: '14s', child: '4s' };
const LOOK_MS = 3_000;
/** Moments at which a program is killed, as parts of that time. */
const KILLS = { node: [0.25, 0.75], agent: [0.4, 0.75] };
/** Longest silence of a spoke as the cluster sees it, ms: a takeover, its agent away as well. */
const SILENT_MS = 20_000;

for (const proposal of ['aes256gcm16-prfsha256-x25519', 'aes256-sha256-x25519'])
  test(`a hub that rekeys as it likes, under probing, node and agent killed: no tunnel is lost: ${proposal}`, {
    skip: LAB_SKIP,
    timeout: WATCHED_MS + 400_000,
  }, async (t) => {
    const lab = await Lab.up({ proposal, extras: EXTRAS, hubRekey: REKEY });
    const offload = new Offload(lab);
    t.after(async () => {
      if (t.error) process.stderr.write(`${offload.log}\n${lab.log('hub').slice(-20_000)}`);
      await offload.stop();
      await lab.down();
    });
    await offload.startNode();
    offload.startAgent();
    await eventually('all are asked', async () => {
      const peers = await offload.peers().catch(() => []);
      return new Set(peers.filter(({ probesAnswered }) => probesAnswered > 0).map(({ sa }) => sa!.peerId)).size === SAS;
    });
    offload.watch();
    const began = Date.now();
    const answered = async () => Number((await offload.counters().catch(() => undefined))?.probesAnswered ?? 0);
    let rekeyed = 0;
    let known = new Set((await lab.sas('hub')).map(({ spi }) => spi));
    const left = { node: [...KILLS.node], agent: [...KILLS.agent] };
    const isDue = (which: 'node' | 'agent') => {
      const due = Date.now() - began >= (left[which][0] ?? Number.POSITIVE_INFINITY) * WATCHED_MS;
      if (due) left[which].shift();
      return due;
    };
    let silentMs = 0;
    while (Date.now() - began < WATCHED_MS) {
      await sleep(LOOK_MS);
      const now = await lab.sas('hub');
      assert.equal(new Set(now.map(({ remoteId }) => remoteId)).size, SAS, 'a tunnel is gone');
      rekeyed += now.filter(({ spi }) => !known.has(spi)).length;
      known = new Set(now.map(({ spi }) => spi));
      for (const { state, sa, lastEvidenceAgeMs } of await offload.peers().catch(() => []))
        if (state !== PeerState.UNWATCHED && known.has(spiHex(sa!.id!)))
          silentMs = Math.max(silentMs, Number(lastEvidenceAgeMs));
      const [node, agent] = [isDue('node'), isDue('agent')];
      await Promise.all([node && offload.end('node', 'SIGKILL'), agent && offload.end('agent', 'SIGKILL')]);
      if (node) await offload.startNode();
      if (agent) offload.startAgent();
    }
    t.diagnostic(`${rekeyed} IKE SAs rekeyed; nobody silent for longer than ${silentMs} ms`);
    assert(silentMs < SILENT_MS, `a spoke was not heard for ${silentMs} ms`);
    assert(rekeyed >= 2 * SAS, `${rekeyed} IKE SAs rekeyed`);
    const before = await answered();
    await eventually('probing goes on', async () => (await answered()) >= before + 5 * SAS);
    assert.equal(offload.verdicts.length, 0, 'a verdict on a living peer');
    assert.doesNotMatch(lab.log('hub'), /giving up after/, "charon's retransmissions ran out");
    assert.equal(await lab.ping('spoke-a', 5), 5);
    const { requestsTranslated } = await offload.counters();
    assert(requestsTranslated >= 10, `${requestsTranslated} requests of charon's translated`);

    // A living SA that the hub deletes: the spoke hears it.
    await lab.terminate('hub', 'site1');
    await eventually('the spoke has heard it', async () =>
      (await lab.sas('spoke-a')).every(({ connection }) => connection !== 'hub'),
    );
  });
