/** What a verdict does to charon, by action: each on a charon that speaks vici. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { Action, DeadReason, Outcome, type Verdict, VerdictSchema } from '../../../../../proto/gen/dpd/v1/types_pb.js';
import { PeersFile } from '../../../../../services/agent/headend/peers-file.ts';
import { applyVerdict } from '../../../../../services/agent/headend/strongswan/apply-verdict.ts';
import { Looks } from '../../../../../services/agent/headend/strongswan/looks.ts';
import { ViciClient } from '../../../../../services/agent/headend/strongswan/vici/client.ts';
import type { ViciSection } from '../../../../../services/agent/headend/strongswan/vici/codec.ts';
import { listSas } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';
import { createLogger } from '../../../../../services/base/log.ts';
import { ViciFake } from './vici-fake.ts';

const SA = { initiatorSpi: 0xa1n, responderSpi: 0xb2n };
const NEXT = '00000000000000c300000000000000d4';
const section = (spiI: string, spiR: string, child: ViciSection = {}): ViciSection => ({
  uniqueid: '7',
  version: '2',
  state: 'ESTABLISHED',
  'local-host': '192.0.2.1',
  'remote-host': '192.0.2.10',
  'remote-id': 'branch-7',
  'initiator-spi': spiI,
  'responder-spi': spiR,
  'child-sas': { 'net-3': { name: 'net', 'spi-in': 'c1', 'spi-out': 'c2', 'packets-in': '5', ...child } },
});
const DEAD_SA = { 'branch-7': section('a1', 'b2', { 'use-in': '900' }) };

type Charon = {
  /** SAs of `list-sas`; undefined: the one of the verdict is gone. */
  readonly sa?: ViciSection | undefined;
  readonly traps?: readonly string[];
  /** Commands that charon refuses. */
  readonly refuses?: readonly string[];
  readonly peers?: object;
  readonly other?: string;
  /** The next endpoint's SA, before it is brought up. */
  readonly standby?: ViciSection;
};

const verdict = (action: Action, init: Partial<Verdict> = {}): Verdict =>
  create(VerdictSchema, {
    id: 'v',
    sa: SA,
    peerId: 'branch-7',
    action,
    endpoints: [{ address: '192.0.2.10', connection: 'branch-7' }],
    ...(init as object),
  });

/** Applies a verdict. Returns what came of it, what charon was told to change, and evidence given. */
async function apply(of: Verdict, { sa, traps = [], refuses = [], peers = {}, other, standby }: Charon) {
  let deleted = false;
  let initiated = false;
  const charon = await new ViciFake((command, message) => {
    if (refuses.includes(command)) return { response: { success: 'no', errmsg: 'refused by test' } };
    if (command === 'terminate') deleted = true;
    if (command === 'initiate') initiated = true;
    const there = initiated ? section('c3', 'd4') : standby;
    if (command === 'list-sas' && message['ike'] !== undefined)
      return { events: there ? [{ [String(message['ike'])]: there }] : [] };
    if (command === 'list-sas') return { events: sa && !deleted ? [sa] : [] };
    if (command === 'list-policies')
      return {
        events: traps.includes(String(message['child']))
          ? [{ trap: { child: message['child']!, mode: 'TUNNEL' } }]
          : [],
      };
    if (command === 'list-conns') return { events: [{ 'branch-7': { children: { lan: {}, dmz: {} } } }] };
    return {};
  }).listen();
  const vici = new ViciClient(charon.path);
  const alive: number[] = [];
  try {
    const applied = await applyVerdict(
      {
        vici,
        looks: new Looks((wanted, id) => listSas(vici, id === undefined ? {} : { 'ike-id': id }, wanted)),
        viciSocket: charon.path,
        peers: PeersFile.parse(peers, 'test'),
        log: createLogger('test', 'silent'),
        uniqueId: () => '7',
        otherSa: () => other,
        alive: (_spi, ageMs) => alive.push(ageMs),
      },
      of,
    );
    return { ...applied, changes: charon.changes, alive };
  } finally {
    vici.close();
    charon.close();
  }
}
const TERMINATE = ['terminate', { 'ike-id': '7', force: 'yes' }] as const;
const initiate = (ike: string, child: string) => ['initiate', { ike, child, timeout: '10000' }] as const;

test('CLEAR deletes the SA by its number, and nothing more', async () => {
  const { outcome, changes } = await apply(verdict(Action.CLEAR), { sa: DEAD_SA });
  assert.deepEqual([outcome, changes], [Outcome.CLEARED, [TERMINATE]]);
});

test('FAILOVER brings up the next endpoint', async () => {
  const endpoints = [
    { address: '192.0.2.10', connection: 'branch-7', child: 'net' },
    { address: '198.51.100.10', connection: 'backup', child: 'net' },
  ];
  const of = verdict(Action.FAILOVER, { endpoints: endpoints as never, nextEndpoint: 1 });
  const { outcome, changes, successor } = await apply(of, {
    sa: DEAD_SA,
    peers: { peers: { 'branch-7': { endpoints } } },
  });
  assert.deepEqual([outcome, changes], [Outcome.FAILED_OVER, [TERMINATE, initiate('backup', 'net')]]);
  assert.deepEqual(successor, {
    initiatorSpi: BigInt(`0x${NEXT.slice(0, 16)}`),
    responderSpi: BigInt(`0x${NEXT.slice(16)}`),
  });
});

test('a verdict from before its headend was observed changes nothing either; what an operator wants is done', async () => {
  const endpoints = [
    { address: '192.0.2.10', connection: 'branch-7' },
    { address: '192.0.2.20', connection: 'branch-7b' },
  ] as Verdict['endpoints'];
  const old = verdict(Action.FAILOVER, { endpoints, nextEndpoint: 1 });
  for (const peers of [{ observe: true }, { policy: { action: 'NOTIFY' } }]) {
    const told = await apply(old, { sa: DEAD_SA, peers });
    assert.deepEqual([told.outcome, told.changes], [Outcome.NOTIFIED, []]);
    assert.match(told.detail, /would have been FAILOVER to 192\.0\.2\.20/);
    const gone = await apply(verdict(Action.FAILOVER, { endpoints, nextEndpoint: 1, attempt: 2 }), { peers });
    assert.deepEqual([gone.outcome, gone.changes], [Outcome.SA_GONE, []]);
    const asked = await apply(verdict(Action.CLEAR, { reason: DeadReason.OPERATOR }), { sa: DEAD_SA, peers });
    assert.equal(asked.outcome, Outcome.CLEARED);
  }
});

test('FAILOVER to a standby that is up and heard from initiates nothing; one that is only up is asked', async () => {
  const endpoints = [
    { address: '192.0.2.10', connection: 'branch-7', child: 'net' },
    { address: '198.51.100.10', connection: 'backup', child: 'net' },
  ];
  const of = verdict(Action.FAILOVER, { endpoints: endpoints as never, nextEndpoint: 1 });
  const peers = { peers: { 'branch-7': { endpoints } } };
  const standing = (child: ViciSection, remote = '198.51.100.10') => ({
    ...section('c3', 'd4', child),
    'remote-host': remote,
  });
  const heard = await apply(of, { sa: DEAD_SA, peers, standby: standing({ 'use-in': '1' }) });
  assert.deepEqual([heard.outcome, heard.changes], [Outcome.FAILED_OVER, [TERMINATE]]);
  assert.match(heard.detail, /already/);
  const others = [
    standing({ 'use-in': '900' }),
    standing({ 'use-in': '1', name: 'other' }),
    standing({ 'use-in': '1' }, '203.0.113.1'),
    { ...standing({ 'use-in': '1' }), state: 'CONNECTING' },
  ];
  for (const standby of others) {
    const { changes } = await apply(of, { sa: DEAD_SA, peers, standby });
    assert.deepEqual(changes, [TERMINATE, initiate('backup', 'net')]);
  }
});

test('NOTIFY changes nothing, whether asked for or observed', async () => {
  const told = await apply(verdict(Action.NOTIFY), { sa: DEAD_SA });
  assert.deepEqual([told.outcome, told.changes], [Outcome.NOTIFIED, []]);
  assert.match(told.detail, /only told/);
  const observed = await apply(verdict(Action.NOTIFY, { observed: Action.FAILOVER }), { sa: DEAD_SA });
  assert.deepEqual([observed.outcome, observed.changes], [Outcome.NOTIFIED, []]);
  assert.match(observed.detail, /would have been FAILOVER to 192\.0\.2\.10/);
  const gone = await apply(verdict(Action.NOTIFY), {});
  assert.deepEqual([gone.outcome, gone.changes], [Outcome.SA_GONE, []]);
});

describe('RESTART', () => {
  test('brings the same endpoint up again, by the child that the SA had', async () => {
    const { outcome, changes } = await apply(verdict(Action.RESTART), { sa: DEAD_SA });
    assert.deepEqual([outcome, changes], [Outcome.FAILED_OVER, [TERMINATE, initiate('branch-7', 'net')]]);
  });

  test('in a later attempt the SA is gone: the connection says which child', async () => {
    const { outcome, changes } = await apply(verdict(Action.RESTART, { attempt: 2 }), {});
    assert.deepEqual([outcome, changes], [Outcome.FAILED_OVER, [initiate('branch-7', 'lan')]]);
  });

  test('not if the peer is back on an SA of its own', async () => {
    const { outcome, changes } = await apply(verdict(Action.RESTART), { sa: DEAD_SA, other: NEXT });
    assert.deepEqual([outcome, changes], [Outcome.CLEARED, [TERMINATE]]);
  });

  test('an endpoint that does not come up is tried again', async () => {
    const { outcome, detail } = await apply(verdict(Action.RESTART), { sa: DEAD_SA, refuses: ['initiate'] });
    assert.deepEqual([outcome, detail], [Outcome.FAILOVER_FAILED, 'branch-7: initiate: refused by test']);
  });
});

describe('TRAP', () => {
  const install = ['install', { child: 'net', ike: 'branch-7' }] as const;
  test('deletes the SA and leaves the trap policy that there is', async () => {
    const { outcome, changes } = await apply(verdict(Action.TRAP), { sa: DEAD_SA, traps: ['net'] });
    assert.deepEqual([outcome, changes], [Outcome.CLEARED, [TERMINATE]]);
  });

  test('installs the one that is missing', async () => {
    const { outcome, changes } = await apply(verdict(Action.TRAP), { sa: DEAD_SA });
    assert.deepEqual([outcome, changes], [Outcome.CLEARED, [TERMINATE, install]]);
  });

  test("if charon refuses, it is tried again with the connection's children", async () => {
    const first = await apply(verdict(Action.TRAP), { sa: DEAD_SA, refuses: ['install'] });
    assert.deepEqual([first.outcome, first.changes], [Outcome.FAILOVER_FAILED, [TERMINATE, install]]);
    const again = await apply(verdict(Action.TRAP, { attempt: 1 }), { traps: ['lan'] });
    assert.deepEqual(
      [again.outcome, again.changes],
      [Outcome.CLEARED, [['install', { child: 'dmz', ike: 'branch-7' }]]],
    );
  });

  test("an SA that is gone before the first attempt is somebody else's work", async () => {
    const { outcome, changes } = await apply(verdict(Action.TRAP), {});
    assert.deepEqual([outcome, changes], [Outcome.SA_GONE, []]);
  });
});

test('no action touches an SA that was heard from just now', async () => {
  const sa = { 'branch-7': section('a1', 'b2', { 'use-in': '1' }) };
  for (const action of [Action.CLEAR, Action.FAILOVER, Action.TRAP, Action.RESTART, Action.NOTIFY]) {
    const { outcome, changes, alive } = await apply(verdict(action), { sa });
    assert.deepEqual([outcome, changes, alive], [Outcome.PEER_ALIVE, [], [1_000]], Action[action]);
  }
});

test('an operator has an SA torn down although it was heard from just now', async () => {
  const sa = { 'branch-7': section('a1', 'b2', { 'use-in': '1' }) };
  const { outcome, changes } = await apply(verdict(Action.CLEAR, { reason: DeadReason.OPERATOR }), { sa });
  assert.deepEqual([outcome, changes], [Outcome.CLEARED, [TERMINATE]]);
});
