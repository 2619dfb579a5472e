import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ViciClient } from '../../services/agent/headend/strongswan/vici/client.ts';
import { LAB_SKIP, Lab } from './lab.ts';
import { eventually, Offload, POLICY } from './offload.ts';

describe('actions on stock charon', { skip: LAB_SKIP, timeout: 400_000 }, () => {
  test('NOTIFY leaves the SA, TRAP leaves the trap policy, RESTART brings the same endpoint up again', async (t) => {
    const lab = await Lab.up({ proposal: 'aes256gcm16-prfsha256-x25519', extras: 2 });
    const offload = new Offload(lab);
    const action = (name: string) => ({ policy: { action: name } });
    writeFileSync(
      join(lab.directory, 'peers.json'),
      JSON.stringify({
        policy: POLICY,
        peers: { spoke1: action('NOTIFY'), extra1: action('TRAP'), extra2: action('RESTART') },
      }),
    );
    const vici = new ViciClient(lab.viciSocket('hub'));
    t.after(async () => {
      if (t.error) process.stderr.write(offload.log);
      vici.close();
      await offload.stop();
      await lab.down();
    });
    await offload.startNode();
    offload.startAgent();
    const proven = async () => (await offload.peers().catch(() => [])).filter((peer) => peer.probesAnswered > 1);
    await eventually('all three are asked', async () => (await proven()).length === 3);
    offload.watch();
    const spis = async () => new Map((await lab.sas('hub')).map(({ remoteId, spi }) => [remoteId, spi]));
    const before = await spis();

    lab.freeze('spoke-a');
    await eventually('three verdicts', () => offload.verdicts.length === 3);
    const traps = () => vici.list('list-policies', 'list-policy', (policy) => Object.keys(policy), { trap: 'yes' });
    await eventually('the trap policy stands', async () => (await traps()).some((name) => name.includes('x1')));
    await eventually('its SA is gone', async () => !(await spis()).has('extra1'));
    assert.equal((await spis()).get('spoke1'), before.get('spoke1'), 'NOTIFY touched the SA');

    lab.thaw('spoke-a');
    await eventually('the same endpoint is up again', async () =>
      (await lab.sas('hub')).some(
        ({ remoteId, established, spi }) => remoteId === 'extra2' && established && spi !== before.get('extra2'),
      ),
    );
    await eventually('the one that was only told is alive again', async () =>
      (await offload.peer('spoke1')).some(({ sa, state }) => sa!.id !== undefined && state === 1),
    );
    assert.equal((await spis()).get('spoke1'), before.get('spoke1'));
  });
});
