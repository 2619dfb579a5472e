import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Address } from '../../../workers/base/address.ts';
import { MAX_FIRST_ID, PARKED_ID } from '../../../workers/ikev2/header.ts';
import { Mode } from '../../../workers/liveness/policy.ts';
import type { WatchedSa } from '../../../workers/sa/sa-message.ts';
import { checkWatchable } from '../../../workers/sa/watchable.ts';

const SA: WatchedSa = {
  spi: [0, 1, 0, 2],
  headendIsInitiator: false,
  address: Address.of('192.0.2.1'),
  port: 4_500,
  policy: {
    mode: Mode.ON_IDLE,
    intervalMs: 10_000,
    retryIntervalMs: 1_000,
    retries: 3,
    jitterPercent: 0,
    unprovenMs: 0,
  },
  nextMessageId: MAX_FIRST_ID,
  parked: true,
  local: '',
  ikePort: 500,
  muteUntilUnixMs: 0,
};
const policy = (change: object): Partial<WatchedSa> => ({ policy: { ...SA.policy, ...change } });

test('an SA within all limits can be watched; one that nobody watches need not have a policy to the letter', () => {
  checkWatchable(SA);
  checkWatchable({ ...SA, ...policy({ retryFactorPercent: 1_000, retries: 20, retryLimitMs: 300_000 }) });
  checkWatchable({ ...SA, ...policy({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [200, 300_000] }) });
  checkWatchable({ ...SA, ...policy({ mode: Mode.DISABLED, intervalMs: 0, retryIntervalMs: 0, retries: 0 }) });
});

test('one beyond a limit cannot', () => {
  const beyond: Partial<WatchedSa>[] = [
    { nextMessageId: MAX_FIRST_ID + 1 },
    { nextMessageId: PARKED_ID },
    { nextMessageId: 0xffffffff },
    { port: 65_536 },
    { ikePort: 65_536 + 500 },
    { address: Address.of('255.255.255.255') },
    { address: Address.of('ff02::1') },
    policy({ mode: 0 }),
    policy({ mode: 5 }),
    policy({ mode: -1 }),
    policy({ mode: Mode.DISABLED, intervalMs: 0xffffffff }),
    policy({ intervalMs: 199 }),
    policy({ proveEveryMs: 9_999 }),
    policy({ proveEveryMs: 86_400_001 }),
    policy({ upCount: 21 }),
    policy({ retryFactorPercent: 99 }),
    policy({ retryFactorPercent: 1_001 }),
    policy({ retryFactorPercent: 1_000, retries: 4 }),
    policy({ retryLimitMs: 199 }),
    policy({ retryScheduleMs: [3_000] }),
    policy({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [199] }),
    policy({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [300_001] }),
    policy({ retryIntervalMs: 0, retries: 0, retryScheduleMs: Array(21).fill(1_000) }),
    policy({ retryIntervalMs: 60_001 }),
    policy({ retries: 21 }),
    policy({ jitterPercent: 51 }),
    policy({ unprovenMs: 2_592_000_001 }),
  ];
  for (const change of beyond)
    assert.throws(() => checkWatchable({ ...SA, ...change }), RangeError, JSON.stringify(change));
});
