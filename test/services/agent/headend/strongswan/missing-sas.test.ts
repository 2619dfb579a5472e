import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MissingSas } from '../../../../../services/agent/headend/strongswan/missing-sas.ts';

const PEER = { remoteId: 'spoke1', remote: { address: '192.0.2.10', port: 4500 } };

test('an SA is missing when two polls in a row missed it', () => {
  const missing = new MissingSas();
  assert.equal(missing.missed('a'), false);
  missing.settle('a');
  assert.equal(missing.missed('a'), false);
  assert(missing.any);
  assert.equal(missing.missed('a'), true);
  missing.keep(new Set(['b']));
  assert.equal(missing.any, false);
  assert.equal(missing.missed('a'), false);
});

test('a peer whose successor is missing, too, is not rekeyed again for a while; others are', () => {
  const missing = new MissingSas();
  assert(missing.mayRekey(PEER, 0));
  assert.equal(missing.mayRekey(PEER, 599_999), false);
  assert(missing.mayRekey({ ...PEER, remoteId: 'spoke2' }, 599_999));
  assert(missing.mayRekey({ ...PEER, remote: { address: '192.0.2.10', port: 30_123 } }, 599_999));
  assert(missing.mayRekey(PEER, 600_000));
});
