/**
 * What the steering rules cost an ESP-in-UDP data packet that a hub forwards: all of its way from sender to receiver, with the rules of
 * a node on the hub, with those of nodes beside it, and without any, in turn. They run on this machine's own kernel.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removal, renderRules, type Steering } from '../../../services/agent/headend/nftables/rules.ts';
import { skipUnless } from '../../../test/requirements.ts';
import { SettingsError } from '../../../workers/base/errors.ts';
import { median, type Result, round } from '../measure.ts';
import { NODE_DEVICE, Row } from './row.ts';

const NEEDS = { nftables: ['/usr/sbin/nft'], iproute2: ['/usr/sbin/ip'] };
const ROUNDS = 31;
const PACKETS = 50_000;
const SHARDS = 8;
const PORT_BASE = 14_500;
/** SAs in care. */
const SAS = 10_000;
const STEERING = {
  local: { kind: 'local' },
  remote: { kind: 'remote', nodeAddress: '10.9.0.2', nodeAddress6: '', nodeInterface: NODE_DEVICE },
} as const satisfies Record<string, Steering>;
const NAMES = ['without', ...(Object.keys(STEERING) as (keyof typeof STEERING)[])] as const;
type Name = (typeof NAMES)[number];

/** Throws SettingsError where it cannot run. */
export async function steering(): Promise<Result> {
  const lacking = skipUnless(NEEDS, { root: true });
  if (lacking) throw new SettingsError(`steering: ${lacking}`);
  const directory = mkdtempSync(join(tmpdir(), 'dpd-steering-'));
  const row = await Row.make();
  try {
    const files = writeTables(directory);
    const nanos: Record<Name, number[]> = { without: [], local: [], remote: [] };
    for (let turn = 0; turn <= ROUNDS; turn++)
      for (const name of NAMES) {
        await row.hub.run('nft', '-f', files[name]);
        const each = row.flood(PACKETS);
        // The first turn warms up.
        if (turn > 0) nanos[name].push(each);
      }
    const sent = (ROUNDS + 1) * NAMES.length * PACKETS;
    const arrived = await row.arrived();
    if (arrived < sent) throw new Error(`steering: ${arrived} of ${sent} packets arrived`);
    return figures(nanos);
  } finally {
    await row.remove();
    rmSync(directory, { recursive: true });
  }
}

/** Of what was measured in one turn the differences are taken, so that a machine that is slow for a while does not matter. */
function figures(nanos: Readonly<Record<Name, readonly number[]>>): Result {
  const extra = (name: Name) => median(nanos[name].map((each, turn) => each - nanos.without[turn]!));
  const baseline = median(nanos.without);
  const [local, remote] = [extra('local'), extra('remote')];
  return {
    without_ns: Math.round(baseline),
    local_ns: Math.round(median(nanos.local)),
    remote_ns: Math.round(median(nanos.remote)),
    local_extra_ns: Math.round(local),
    remote_extra_ns: Math.round(remote),
    baseline: Math.round(baseline),
    ratio: round((baseline + Math.max(local, remote)) / baseline),
  };
}

/** Files for nft, which replace whichever table stands. */
function writeTables(directory: string): Record<Name, string> {
  const write = (name: Name, text: string) => {
    const file = join(directory, `${name}.nft`);
    writeFileSync(file, text);
    return file;
  };
  const probes = Array.from({ length: SHARDS }, (_, shard) => ({ address: '', address6: '', port: PORT_BASE + shard }));
  const care = Array.from({ length: SAS }, (_, n) => n);
  const table = (kind: keyof typeof STEERING) =>
    write(kind, renderRules({ steering: STEERING[kind], probes, ways: ['10.8.2.1'], care }));
  return {
    without: write('without', removal(['ip'])),
    local: table('local'),
    remote: table('remote'),
  };
}
