/** Peers files: read correctly, or refused with the place of the error. */

import assert from 'node:assert/strict';
import { PeersFile } from '../../../services/agent/headend/peers-file.ts';
import { checkSa } from '../../../services/api/validation.ts';
import { SettingsError } from '../../../workers/base/errors.ts';
import type { Random } from '../../simulation/random.ts';
import { spoilJson } from '../bytes.ts';
import { goodSa } from './samples.ts';

const FILE = {
  policy: { mode: 'ON_IDLE', intervalMs: 10_000, retries: 5 },
  labels: { dialup: { preset: 'fortios-on-demand', retryScheduleMs: [3_000, 6_000] } },
  peers: {
    spoke: {
      policy: { mode: 'PERIODIC', action: 'CLEAR', unprovenMs: 0, jitterPercent: 10, retryIntervalMs: 2_000 },
      endpoints: [{ address: '192.0.2.10', connection: 'spoke', child: 'net' }],
      site: 'west',
      label: 'dialup',
    },
  },
};

export function fuzz(random: Random): boolean {
  const spoiled = JSON.parse(JSON.stringify(spoilJson(FILE, random)) ?? 'null') as unknown;
  let file: PeersFile;
  try {
    file = PeersFile.parse(spoiled, 'fuzz');
  } catch (error) {
    assert(error instanceof SettingsError && error.message.startsWith('peers fuzz'), String((error as Error).stack));
    return false;
  }
  // The API accepts everything that the file reader accepts.
  for (const peer of ['spoke', 'toString', 'x']) {
    const { policy, endpoints, site } = file.get(peer);
    const sa = { ...goodSa(1, random), policy, ...(site !== undefined && { site }) };
    assert.deepEqual(checkSa(sa, { shard: 0, shards: 1, loopback: false }), []);
    assert(endpoints.every(({ connection }) => typeof connection === 'string'));
  }
  return true;
}
