import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Address } from '../../../workers/base/address.ts';
import { NAT_T_PORT } from '../../../workers/ikev2/header.ts';
import { Direction, Interlock } from '../../../workers/liveness/interlock.ts';
import { CANARY_INTERVAL_MS, readCanary, VOUCHER_MS } from '../../../workers/path/canary.ts';
import { ProbePath } from '../../../workers/path/probe-path.ts';

const HUB = { address: Address.of('192.0.2.1'), port: NAT_T_PORT };
const SPOKE = { address: Address.of('192.0.2.10'), port: 30_123 };

test('canaries from before the headend came back prove nothing: its rules may have named another meanwhile', () => {
  const interlock = new Interlock();
  const out: Buffer[] = [];
  const missed: number[] = [];
  const path = new ProbePath(
    {
      interlock,
      shard: 0,
      first: 1,
      send: (message) => out.push(Buffer.from(message)) > 0,
      missed: (sinceMs) => missed.push(sinceMs),
      changed: () => {},
    },
    0,
  );
  const way = path.numbers.of({ local: String(HUB.address), ikePort: HUB.port });
  path.set({
    guarded: true,
    ready: true,
    returning: true,
    ways: [
      { local: String(HUB.address), ikePort: HUB.port, index: 0, canaryAddress: '192.0.2.10', canaryPort: SPOKE.port },
    ],
  });
  const comeHome = () => {
    for (const canary of out.splice(0))
      path.home(canary, readCanary(canary)!.direction === Direction.OUT ? HUB : SPOKE);
  };
  const vouchedFor = (now: number) => interlock.vouched(way, now);
  path.tick(0);
  comeHome();
  assert(vouchedFor(100));

  const late = CANARY_INTERVAL_MS;
  path.tick(late);
  path.headendIsBack(late + 10);
  assert(!vouchedFor(late + 10), 'what was vouched for before goes on');
  comeHome();
  assert(!vouchedFor(late + 20), 'a canary from before speaks for the way');
  assert.deepEqual(missed, []);

  const next = late + CANARY_INTERVAL_MS;
  path.tick(next);
  comeHome();
  assert(vouchedFor(next) && !vouchedFor(next + VOUCHER_MS));
  assert.deepEqual(missed, [0], 'another may have asked since the last canary that proved it');
});
