import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodeMidInitiator, HaType } from '../../services/agent/headend/strongswan/ha/ha-message.ts';
import { LAB_SKIP, Lab } from './lab.ts';
import { eventually } from './offload.ts';

const PROPOSAL = 'aes256gcm16-prfsha256-x25519';
/** A spoke's next request after IKE_SA_INIT and IKE_AUTH: what charon expects anyway. */
const NEXT_ID = 2;

describe('answering a spoke’s own DPD for charon', { skip: LAB_SKIP, timeout: 400_000 }, () => {
  test('whatever charon is told of the spoke’s ids while it waits for an answer kills the tunnel: so it is told nothing', async (t) => {
    const lab = await Lab.up({ proposal: PROPOSAL, extras: 1 });
    t.after(() => lab.down());
    const sa = async (name: string) => (await lab.sas('hub')).find(({ remoteId }) => remoteId === name);
    const { id, spi } = (await sa('extra1'))!;
    const other = (await sa('spoke1'))!;
    const message = encodeMidInitiator(3, id, NEXT_ID);
    message[1] = HaType.IKE_MID_RESPONDER;

    lab.freeze('spoke-a');
    await lab.rekeyIke('hub', 'extra1');
    await eventually('charon waits for an answer', async () => (await sa('extra1'))?.busy === true);
    await lab.exec(
      'hub',
      process.execPath,
      '-e',
      `const s = require('dgram').createSocket('udp4');
       s.bind(4510, '127.0.0.2', () => s.send(Buffer.from('${message.toString('hex')}', 'hex'), 4510, '127.0.0.3', () => setTimeout(() => s.close(), 300)));`,
    );
    lab.thaw('spoke-a');
    await eventually('charon destroys the SA', async () => (await sa('extra1'))?.spi !== spi);
    assert.match(lab.log('hub'), /received CREATE_CHILD_SA response, but expected/);
    assert.equal((await sa('spoke1'))?.spi, other.spi);
  });
});
