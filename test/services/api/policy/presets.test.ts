/** Each preset's documented time line, replayed through the machine that watches real peers. Times in seconds after the last evidence. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { Mode, PolicySchema, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { applyPresets } from '../../../../services/api/policy/merge.ts';
import { PRESET_NAMES, PRESETS, type Preset, type PresetName } from '../../../../services/api/policy/presets.ts';
import { Machine } from '../../../../workers/liveness/machine.ts';
import type { Policy } from '../../../../workers/liveness/policy.ts';
import { POLICY_LIMITS, policyFaults } from '../../../../workers/liveness/policy-limits.ts';

const STEP_MS = 5;

/** What each vendor's documents say: when it asks a peer that answers no more, and when it gives up. */
const TIME_LINES: Readonly<Record<PresetName, { asks: readonly number[]; dead: number }>> = {
  'cisco-ios-periodic': { asks: [10, 12, 14, 16, 18], dead: 20 },
  'cisco-ios-on-demand': { asks: [10, 12, 14, 16, 18], dead: 20 },
  'cisco-ios-keepalive': { asks: [10, 20], dead: 30 },
  'cisco-ikev2': { asks: [10, 12, 14, 16, 18], dead: 20 },
  'cisco-asa': { asks: [10, 12, 14, 16], dead: 18 },
  'junos-optimized': { asks: [10, 20, 30, 40, 50], dead: 60 },
  'junos-probe-idle-tunnel': { asks: [10, 20, 30, 40, 50], dead: 60 },
  'junos-always-send': { asks: [10, 20, 30, 40, 50], dead: 60 },
  'fortios-on-idle': { asks: [20, 23, 29, 41, 65], dead: 113 },
  'fortios-on-demand': { asks: [20, 23, 29, 41, 65], dead: 113 },
  'panos-ikev1-dpd': { asks: [5, 10, 15, 20, 25], dead: 30 },
  'panos-ikev2-liveness': { asks: [5, 10, 20, 40, 80, 140, 200, 260, 320, 380], dead: 440 },
  strongswan: { asks: [30, 34, 41.2, 54.16, 77.488, 119.478], dead: 195.061 },
  libreswan: { asks: [30, 30.5, 31.5, 33.5, 37.5, 45.5, 61.5], dead: 90 },
  sophos: { asks: [30, 60, 90, 120], dead: 150 },
  aws: { asks: [10, 20, 30], dead: 40 },
  azure: { asks: [15, 30], dead: 45 },
};

/** Each of three peers has one kind of traffic: it sends and is sent to, is only sent to, or is idle. */
type Traffic = 'both ways' | 'outgoing' | 'none';

/** When a peer with this policy is asked, and declared dead, s. It answered last at 0. */
function replay(policy: Policy, seconds: number, traffic: Traffic): { asks: number[]; dead: number | undefined } {
  let now = 0;
  const asks: number[] = [];
  let dead: number | undefined;
  const machine = new Machine(0, 1, {
    probe: () => asks.push(now / 1_000) && 0,
    verdict: () => {
      dead = now / 1_000;
    },
    recovered: () => {},
  });
  machine.add(0, policy, 0);
  machine.answered(0, 0);
  while (now < seconds * 1_000 && dead === undefined) {
    now += STEP_MS;
    if (traffic !== 'none' && now % 1_000 === 0) machine.sent(0, now);
    if (traffic === 'both ways' && now % 1_000 === 0) machine.heard(0, now);
    machine.advance(now);
  }
  return { asks, dead };
}

/** A policy of the API that names a preset, as the node works with it. */
function named(preset: string, own: object = {}): Policy {
  const sa = create(SaSchema, { policy: create(PolicySchema, { preset, ...own }) });
  applyPresets([sa]);
  return sa.policy as Policy;
}

/** A timer fires at most a tick late. */
const near = (seconds: readonly number[]) => seconds.map((at) => Math.round(at * 20) / 20);

describe('the documented time line', () => {
  for (const name of PRESET_NAMES)
    test(name, () => {
      const { asks, dead } = TIME_LINES[name];
      const seen = replay(named(name), dead + 60, 'outgoing');
      assert.deepEqual(near(seen.asks), near(asks));
      assert(
        seen.dead !== undefined && seen.dead >= dead && seen.dead <= dead + 0.01,
        `dead at ${seen.dead}, not ${dead}`,
      );
    });
});

test('each mode asks the peers that its vendor asks', () => {
  const asked = (name: PresetName, traffic: Traffic) => replay(named(name), 100, traffic).asks.length > 0;
  for (const name of PRESET_NAMES) {
    const { mode } = PRESETS[name].policy;
    assert.equal(asked(name, 'both ways'), mode === Mode.PERIODIC, `${name}, busy`);
    assert.equal(asked(name, 'outgoing'), true, `${name}, outgoing`);
    assert.equal(asked(name, 'none'), mode !== Mode.ON_DEMAND, `${name}, idle`);
  }
});

test('own members stand above the preset: Cisco\'s examples "30 20 periodic" and "40 5"', () => {
  const thirty = replay(
    named('cisco-ios-periodic', { intervalMs: 30_000, retryIntervalMs: 20_000, retries: 4 }),
    200,
    'none',
  );
  assert.deepEqual([near(thirty.asks), near([thirty.dead!])], [[30, 50, 70, 90], [110]]);
  const forty = replay(named('cisco-ios-periodic', { intervalMs: 40_000, retryIntervalMs: 5_000 }), 100, 'none');
  assert.deepEqual([near(forty.asks), near([forty.dead!])], [[40, 45, 50, 55, 60], [65]]);
  const listed = named('strongswan', { retryScheduleMs: [1_000] });
  assert.deepEqual([listed.retries, listed.retryFactorPercent, listed.retryScheduleMs], [0, 0, [1_000]]);
  const equal = named('fortios-on-idle', { retryIntervalMs: 2_000, retries: 3 });
  assert.deepEqual([equal.retryScheduleMs, equal.retries, equal.mode], [[], 3, Mode.ON_IDLE]);
});

test('a preset is a policy that the API takes, and so is all that its vendor allows', () => {
  for (const name of PRESET_NAMES) {
    const { policy, ranges }: Preset = PRESETS[name];
    assert.deepEqual(policyFaults(named(name)), [], name);
    for (const [member, range] of Object.entries(ranges) as [keyof Preset['ranges'], { min: number; max: number }][]) {
      assert(policy[member]! >= range.min && policy[member]! <= range.max, `${name}: default of ${member}`);
      assert(range.min >= POLICY_LIMITS[member].min && range.max <= POLICY_LIMITS[member].max, `${name}: ${member}`);
    }
  }
});

test('the documentation lists every preset with its time line', () => {
  const docs = readFileSync(new URL('../../../../docs/policies.md', import.meta.url), 'utf8');
  for (const name of PRESET_NAMES) {
    const [row] = docs.split('\n').filter((line) => line.startsWith(`| \`${name}\` |`));
    const cells = row!.split('|').map((cell) => cell.trim());
    const { asks, dead } = TIME_LINES[name];
    assert.deepEqual(
      [cells[2], cells[3], cells[5]],
      [Mode[PRESETS[name].policy.mode], `${asks[0]} s`, `${Math.floor(dead)} s`],
    );
  }
});
