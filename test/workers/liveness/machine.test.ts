import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Direction } from '../../../workers/liveness/interlock.ts';
import { Machine, SPREAD } from '../../../workers/liveness/machine.ts';
import { State } from '../../../workers/liveness/peers.ts';
import { Mode, type Policy } from '../../../workers/liveness/policy.ts';
import { detectionMs, waitsOf } from '../../../workers/liveness/schedule.ts';
import { Traced } from '../../../workers/liveness/traced.ts';
import { Pacer } from '../../../workers/shard/pacer.ts';

const POLICY: Policy = {
  mode: Mode.ON_IDLE,
  intervalMs: 10_000,
  retryIntervalMs: 1_000,
  retries: 3,
  jitterPercent: 0,
  unprovenMs: 0,
};
const STEP_MS = 5;

/** A machine under a virtual clock, with a book of what it did. */
function rig(
  policy: Partial<Policy> = {},
  { gated = false, ready = true, spreadFirst = false, messages = 1, proven = true } = {},
) {
  const probes: number[] = [];
  const verdicts: { at: number; earliest: number }[] = [];
  const recoveries: number[] = [];
  /** Messages of a probe after its first. */
  const following: { at: number; unsent: number; last: boolean }[] = [];
  let canSend = true;
  let deafAt = Number.NEGATIVE_INFINITY;
  let now = 0;
  const machine = new Machine(0, 4, {
    probe: () => {
      if (canSend) probes.push(now);
      return canSend ? messages - 1 : -1;
    },
    probeOn: (_handle, unsent, last) => {
      if (canSend) following.push({ at: now, unsent, last });
      return canSend;
    },
    verdict: (_handle, earliest) => verdicts.push({ at: now, earliest }),
    recovered: (_handle, _first, attempts) => recoveries.push(attempts),
    deafSince: (from) => deafAt >= from,
  });
  const firstAskMs = spreadFirst ? SPREAD : undefined;
  machine.add(0, { ...POLICY, ...policy }, 0, { gated, ready, firstAskMs });
  if (proven) machine.answered(0, 0);
  const run = (until: number, each: () => void = () => {}) => {
    while (now < until) {
      now += STEP_MS;
      each();
      machine.advance(now);
    }
  };
  return {
    machine,
    probes,
    following,
    verdicts,
    recoveries,
    run,
    jump: (to: number) => {
      now = to;
      machine.advance(now);
    },
    now: () => now,
    deafen: () => {
      deafAt = now;
    },
    breakSending: (broken: boolean) => {
      canSend = !broken;
    },
  };
}

/** Canaries sent at `sentAt` came home in both directions, on the only way there is. */
function vouch(machine: Machine, sentAt: number, until: number): void {
  machine.interlock.vouch(0, Direction.OUT, sentAt, until);
  machine.interlock.vouch(0, Direction.IN, sentAt, until);
}

describe('ON_IDLE', () => {
  test('a silent peer is probed retries times and dead at interval + retries x retry interval, not before', () => {
    const { run, probes, verdicts } = rig();
    run(60_000);
    assert.deepEqual(probes, [10_000, 11_000, 12_000]);
    assert.deepEqual(verdicts, [{ at: 13_000, earliest: 13_000 }]);
  });

  test('traffic suppresses probes and is counted', () => {
    const { machine, run, probes, verdicts, now } = rig();
    run(100_000, () => now() % 5_000 === 0 && machine.heard(0, now()));
    assert.deepEqual([probes, verdicts], [[], []]);
    assert(machine.counters.suppressed >= 9);
  });

  test('an answer ends the suspicion, and the next probe comes an interval later', () => {
    const { machine, run, probes, verdicts, recoveries, now } = rig();
    run(40_000, () => now() === 12_500 && machine.answered(0, now()));
    assert.deepEqual(probes.slice(0, 4), [10_000, 11_000, 12_000, 22_500]);
    assert.deepEqual(recoveries, [3]);
    assert.equal(verdicts.length, 1);
  });

  test('old news does not end a suspicion but moves the earliest moment of the verdict', () => {
    const { machine, run, verdicts, now } = rig();
    run(60_000, () => now() === 11_500 && machine.heard(0, 1_200));
    assert.deepEqual(verdicts, [{ at: 14_200, earliest: 14_200 }]);
  });

  test('jitter brings probes forward, never the verdict', () => {
    const { run, probes, verdicts } = rig({ jitterPercent: 50 });
    run(60_000);
    assert(probes[0]! < 10_000 && probes[0]! >= 5_000);
    assert.equal(verdicts[0]?.at, 13_000);
  });

  test('an answer after the verdict brings the peer back', () => {
    const { machine, run, verdicts, now } = rig();
    run(20_000, () => now() === 15_000 && machine.answered(0, now()));
    assert.equal(verdicts.length, 1);
    assert.equal(machine.peers.state[0], State.ALIVE);
    run(60_000);
    assert.equal(verdicts.length, 2);
  });
});

test('PERIODIC probes every interval whatever the traffic', () => {
  const { machine, run, probes, now } = rig({ mode: Mode.PERIODIC });
  let asked = 0;
  run(50_000, () => {
    machine.heard(0, now());
    if (probes.length > asked) {
      asked = probes.length;
      machine.answered(0, now());
    }
  });
  assert.deepEqual(probes, [10_000, 20_000, 30_000, 40_000, 50_000]);
});

describe('ON_DEMAND', () => {
  test('nothing sent: never probed', () => {
    const { machine, run, probes } = rig({ mode: Mode.ON_DEMAND });
    run(100_000);
    assert.deepEqual(probes, []);
    assert.equal(machine.peers.state[0], State.QUIET);
  });

  test('something sent to a quiet peer: probed at once, dead after the retries', () => {
    const { machine, run, probes, verdicts, now } = rig({ mode: Mode.ON_DEMAND });
    run(100_000, () => now() === 50_000 && machine.sent(0, now()));
    assert(probes[0]! >= 50_000 && probes[0]! <= 50_000 + STEP_MS);
    assert.equal(probes.length, 3);
    assert(verdicts[0]!.at >= 53_000 && verdicts[0]!.at <= 53_050);
  });
});

test('DISABLED is never probed and never dead', () => {
  const { run, probes, verdicts } = rig({ mode: Mode.DISABLED });
  run(100_000);
  assert.deepEqual([probes, verdicts], [[], []]);
});

describe('interlock', () => {
  test('without a voucher: no probe, no verdict, BLOCKED; with one: probing resumes', () => {
    const { machine, run, probes, verdicts, now } = rig({}, { gated: true });
    run(50_000);
    assert.deepEqual([probes, verdicts], [[], []]);
    assert.equal(machine.peers.state[0], State.BLOCKED);
    run(52_000, () => vouch(machine, now(), now() + 2_000));
    assert(probes.length > 0);
  });

  test('an SA that is not ready is not probed whatever the voucher', () => {
    const { machine, run, probes, now } = rig({}, { gated: true, ready: false });
    run(50_000, () => vouch(machine, now(), now() + 2_000));
    assert.deepEqual(probes, []);
    machine.setReady(0, true);
    run(51_000, () => vouch(machine, now(), now() + 2_000));
    assert(probes.length > 0);
  });

  test('path lost in the middle of a suspicion: no verdict, and the suspicion starts anew', () => {
    const { machine, run, probes, verdicts, now } = rig({}, { gated: true });
    run(12_100, () => vouch(machine, now(), now() + 500));
    assert.equal(probes.length, 3);
    run(40_000);
    assert.equal(verdicts.length, 0);
    assert.equal(machine.peers.state[0], State.BLOCKED);
    run(50_000, () => vouch(machine, now(), now() + 500));
    assert.equal(probes.length, 6);
    assert(verdicts[0]!.at >= 43_000);
  });

  test('a verdict waits for a canary sent after the last probe', () => {
    const { machine, run, verdicts, now } = rig({}, { gated: true });
    run(11_995, () => vouch(machine, now(), now() + 5_000));
    run(13_500);
    assert.deepEqual(verdicts, []);
    vouch(machine, 13_400, 18_000);
    run(13_600);
    assert.equal(verdicts.length, 1);
  });

  test('a canary that was missed during the suspicion: no verdict, and the suspicion starts anew', () => {
    let failed = true;
    const probes: number[] = [];
    const verdicts: number[] = [];
    let now = 0;
    const machine = new Machine(0, 1, {
      probe: () => {
        probes.push(now);
        return 0;
      },
      wayFailed: (_way, fromMs, toMs) => failed && fromMs <= 11_500 && 11_500 <= toMs,
      verdict: () => verdicts.push(now),
      recovered: () => {},
    });
    machine.add(0, POLICY, 0, { gated: true });
    machine.answered(0, 0);
    for (; now < 30_000; now += STEP_MS) {
      vouch(machine, now, now + 1_000);
      machine.advance(now);
      if (now === 13_100) assert.deepEqual(verdicts, []);
      if (now === 20_000) failed = false;
    }
    assert.equal(verdicts.length, 1);
    assert(verdicts[0]! >= 16_000 && probes.length === 6, `${verdicts} after ${probes}`);
  });

  test('a failed send is no silence', () => {
    const { run, verdicts, breakSending, probes } = rig();
    breakSending(true);
    run(60_000);
    assert.deepEqual(verdicts, []);
    breakSending(false);
    run(70_000);
    assert.equal(probes.length, 3);
    assert.equal(verdicts.length, 1);
  });
});

test('a stalled thread gives the time back: answers that wait in the socket are read before the verdict', () => {
  const { jump, run, machine, verdicts, now } = rig();
  run(12_100);
  jump(33_000);
  assert.deepEqual(verdicts, []);
  machine.answered(0, now());
  run(34_000);
  assert.deepEqual(verdicts, []);
});

test('answers that were dropped unread are no silence: the suspicion begins anew', () => {
  const { machine, run, probes, verdicts, deafen, now } = rig({}, { gated: true });
  const standing = () => vouch(machine, now(), now() + 1_000);
  // Before the suspicion it does not matter.
  run(9_000, standing);
  deafen();
  run(12_500, standing);
  deafen();
  run(13_100, standing);
  assert.deepEqual([verdicts, machine.peers.state[0]], [[], State.BLOCKED]);
  run(60_000, standing);
  assert.deepEqual(probes.slice(3), [13_250, 14_250, 15_250]);
  assert.deepEqual(verdicts, [{ at: 16_250, earliest: 16_250 }]);
});

describe('a probe of several messages', () => {
  const times = (sent: readonly { at: number }[]) => sent.map(({ at }) => at);

  test('they go one after the other, and the peer has its time to answer the last', () => {
    const { machine, run, probes, following, verdicts } = rig({}, { messages: 3 });
    run(60_000);
    assert.deepEqual(probes, [10_000, 11_000, 12_000]);
    assert.deepEqual(times(following), [10_050, 10_100, 11_050, 11_100, 12_050, 12_100]);
    assert.deepEqual(
      following.slice(-3).map(({ unsent, last }) => [unsent, last]),
      [
        [0, false],
        [1, true],
        [0, true],
      ],
    );
    // They took less than a quarter of the retry interval.
    assert.deepEqual(verdicts, [{ at: 13_000, earliest: 13_000 }]);
    assert.equal(machine.peers.blindMs[0], 0);
  });

  test('what they take of the time to answer is given back', () => {
    const { machine, run, probes, verdicts } = rig({}, { messages: 11 });
    run(60_000);
    // 500 ms, of which 250 are free.
    assert.deepEqual(probes, [10_000, 11_250, 12_500]);
    assert.deepEqual(verdicts, [{ at: 13_750, earliest: 13_750 }]);
    assert.equal(machine.peers.blindMs[0], 750);
  });

  test('an answer ends them', () => {
    const { machine, run, following, verdicts, now } = rig({}, { messages: 3 });
    run(20_000, () => now() === 10_070 && machine.answered(0, now()));
    assert.deepEqual(times(following), [10_050]);
    assert.deepEqual(verdicts, []);
  });

  test('each needs a voucher, or the suspicion begins anew', () => {
    const { machine, run, probes, following, now } = rig({}, { gated: true, messages: 3 });
    run(10_030, () => vouch(machine, now(), now() + 30));
    run(10_200);
    assert.equal(machine.peers.state[0], State.BLOCKED);
    run(10_420, () => vouch(machine, now(), now() + 30));
    assert.deepEqual(probes, [10_000, 10_350]);
    assert.deepEqual(times(following), [10_050, 10_400]);
  });

  test('one that does not leave: the suspicion begins anew', () => {
    const { machine, run, breakSending } = rig({}, { messages: 3 });
    run(10_060);
    breakSending(true);
    run(10_110);
    assert.equal(machine.peers.state[0], State.BLOCKED);
  });

  test('a peer whose verdict is held back is asked all of them, and no verdict follows', () => {
    const { machine, run, probes, following, verdicts, now } = rig({}, { messages: 2 });
    run(13_000);
    machine.hold(0);
    run(40_000);
    assert.deepEqual(probes.slice(3), [13_000, 23_050, 33_100]);
    assert.deepEqual(
      following.slice(3).map(({ at, last }) => [at, last]),
      [
        [13_050, false],
        [23_100, false],
        [33_150, false],
      ],
    );
    assert.equal(verdicts.length, 1);
    machine.answered(0, now());
    assert.equal(machine.peers.state[0], State.ALIVE);
  });
});

test('a verdict left by a former owner is not given again', () => {
  const { machine, run, probes, verdicts } = rig();
  machine.restoreDead(0);
  run(100_000);
  assert.deepEqual([probes, verdicts], [[], []]);
});

describe('a first probe that is spread', () => {
  test('peers added together are not asked together, now or later, and neighbours are', () => {
    const [peers, bucketMs, rounds] = [16_000, 100, 30];
    const perBucket = (peers * bucketMs) / POLICY.intervalMs;
    for (const mode of [Mode.ON_IDLE, Mode.PERIODIC]) {
      const buckets = new Uint32Array((rounds * POLICY.intervalMs) / bucketMs);
      const answers: { at: number; handle: number }[] = [];
      /** Ticks at which neighbours were asked, of the peers of the last round. */
      const together = new Set<string>();
      let now = 0;
      const machine = new Machine(0, peers, {
        probe: (handle) => {
          buckets[Math.floor(now / bucketMs)]!++;
          // Each has a round trip of its own.
          answers.push({ at: now + 5 + 5 * (handle % 7), handle });
          if (now >= (rounds - 1) * POLICY.intervalMs) together.add(`${handle >> 4} at ${now}`);
          return 0;
        },
        verdict: () => assert.fail('a verdict'),
        recovered: () => {},
      });
      for (let handle = 0; handle < peers; handle++)
        machine.add(handle, { ...POLICY, mode, jitterPercent: 10 }, 0, { firstAskMs: SPREAD });
      while (now < rounds * POLICY.intervalMs - STEP_MS) {
        now += STEP_MS;
        machine.advance(now);
        const due = answers.findIndex(({ at }) => at > now);
        for (const { handle } of answers.splice(0, due < 0 ? answers.length : due)) machine.answered(handle, now);
      }
      const last = buckets.subarray(-POLICY.intervalMs / bucketMs);
      const [least, most] = [Math.min(...last), Math.max(...last)];
      assert(least > perBucket * 0.5 && most < perBucket * 1.5, `${least} to ${most} probes in ${bucketMs} ms`);
      assert(together.size <= (peers / 16) * 1.2, `${peers / 16} groups of neighbours asked at ${together.size} times`);
    }
  });

  test('unanswered, the peer is asked anew when it is due, and dead not before its time', () => {
    const { run, probes, verdicts } = rig({ intervalMs: 20_000 }, { spreadFirst: true });
    run(60_000);
    assert(probes[0]! > 0 && probes[0]! < 17_000);
    assert.deepEqual(probes.slice(-3), [20_000, 21_000, 22_000]);
    assert.deepEqual(verdicts, [{ at: 23_000, earliest: 23_000 }]);
  });

  test('traffic before it comes spares it', () => {
    const { machine, run, probes, now } = rig({}, { spreadFirst: true });
    run(9_000, () => now() === 1_000 && machine.heard(0, now()));
    assert.deepEqual(probes, []);
  });
});

test('a schedule that grows, or is listed, is kept to the moment', () => {
  const grows = rig({ retryIntervalMs: 1_000, retries: 4, retryFactorPercent: 200, retryLimitMs: 3_000 });
  grows.run(25_000);
  assert.deepEqual(grows.probes, [10_000, 11_000, 13_000, 16_000]);
  assert.deepEqual(grows.verdicts, [{ at: 19_000, earliest: 19_000 }]);
  const listed = rig({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [3_000, 200, 12_000] });
  listed.run(30_000);
  assert.deepEqual(listed.probes, [10_000, 13_000, 13_200]);
  assert.deepEqual(listed.verdicts, [{ at: 25_200, earliest: 25_200 }]);
});

test('an interval of 200 ms detects within a second', () => {
  const { run, probes, verdicts } = rig({ intervalMs: 200, retryIntervalMs: 200, retries: 3 });
  run(2_000);
  assert.deepEqual([probes, verdicts], [[200, 400, 600], [{ at: 800, earliest: 800 }]]);
});

test('after a long wait silence counts again, so that it is still fresh at the verdict', () => {
  const silences = (policy: Partial<Policy>) => {
    const { machine, run } = rig(policy);
    run(200_000);
    return machine.counters.outcomes.read().silent[0];
  };
  assert.equal(silences({ retryIntervalMs: 2_000, retries: 5 }), 1);
  assert.equal(silences({ retryIntervalMs: 5_000, retries: 4 }), 2);
  assert.equal(silences({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [3_000, 6_000, 12_000, 24_000] }), 3);
});

test('silence counts once, however often a verdict that waits for its path is looked at', () => {
  const { machine, run, verdicts } = rig({ retries: 1 }, { gated: true });
  vouch(machine, 0, 100_000);
  run(15_000);
  assert.deepEqual([verdicts.length, machine.counters.outcomes.read().silent[0]], [0, 1]);
});

describe('a muted peer', () => {
  test('is asked and not judged; when the mute is over, it has another suspicion, with all retries', () => {
    const { machine, run, probes, verdicts } = rig();
    machine.mute(0, 60_000);
    run(59_000);
    assert.deepEqual([verdicts, machine.peers.state[0], machine.counters.muted], [[], State.UNPROVEN, 1]);
    const before = probes.filter((at) => at < 60_000).length;
    run(90_000);
    assert.equal(verdicts.length, 1);
    const suspicion = probes.slice(before);
    assert.equal(suspicion.length, 3);
    assert(suspicion[0]! >= 60_000 && verdicts[0]!.at === suspicion[0]! + 3_000, `${suspicion} ${verdicts[0]!.at}`);
  });

  test('that answers is alive as ever; and a mute may come and go', () => {
    const { machine, run, verdicts, now } = rig();
    machine.mute(0, 1e9);
    run(30_000);
    machine.answered(0, now());
    assert.equal(machine.peers.state[0], State.ALIVE);
    run(50_000);
    assert.equal(machine.peers.state[0], State.UNPROVEN);
    machine.update(0, POLICY, false, true);
    machine.mute(0, 0);
    run(80_000);
    assert.equal(verdicts.length, 1);
  });
});

test('mutes take no room of policies, and end with their peer', () => {
  const { machine, run, verdicts } = rig();
  for (let until = 1; until <= 70_000; until++) {
    machine.update(0, POLICY, false, true);
    machine.mute(0, 1e6 + until);
  }
  machine.remove(0);
  machine.add(0, POLICY, 0, { proven: true });
  run(20_000);
  assert.equal(verdicts.length, 1);
});

describe('a round trip now and then', () => {
  const busy = (mode: Policy['mode'], answers: boolean) => {
    const all = rig({ mode, proveEveryMs: 60_000 });
    const { machine, probes, now } = all;
    all.run(200_000, () => {
      if (now() % 1_000 !== 0) return;
      machine.sent(0, now());
      machine.heard(0, now());
      if (answers && probes.length > 0) machine.answered(0, now());
    });
    return all;
  };

  test('is asked of a busy peer, in every mode that traffic would silence', () => {
    for (const mode of [Mode.ON_IDLE, Mode.ON_DEMAND]) {
      const { probes, machine } = busy(mode, true);
      assert(probes.length >= 3 && probes.length <= 5, `${probes.length} in 200 s`);
      probes.slice(1).forEach((at, n) => assert(at - probes[n]! >= 60_000 && at - probes[n]! <= 70_000));
      assert.equal(machine.counters.oneWay, 0);
    }
  });

  test('a peer that sends and does not answer is counted, and never judged', () => {
    const { probes, machine, verdicts } = busy(Mode.ON_IDLE, false);
    assert(machine.counters.oneWay >= 10, `${machine.counters.oneWay}`);
    assert(probes.length - machine.counters.oneWay <= 1);
    assert.deepEqual(verdicts, []);
    assert.equal(machine.peers.state[0], State.ALIVE);
  });

  test('when it falls silent too, it is judged as ever', () => {
    const { machine, run, verdicts, now } = busy(Mode.ON_IDLE, false);
    const last = machine.peers.heardAt[0]!;
    run(now() + 60_000);
    assert.equal(verdicts.length, 1);
    assert(verdicts[0]!.at >= last + 13_000 && verdicts[0]!.at < last + 14_100, `${verdicts[0]!.at - last}`);
  });

  test('is not asked without a path, and proves nothing when a canary was missed', () => {
    const { machine, run, probes, now } = rig({ proveEveryMs: 20_000 }, { gated: true });
    vouch(machine, 0, 30_000);
    run(100_000, () => now() % 1_000 === 0 && machine.heard(0, now()));
    assert(probes.length <= 3, `${probes}`);
    assert.equal(machine.counters.oneWay, 0);
  });
});

describe('a dead peer whose SA stays', () => {
  test('is asked on, and its answer is told', () => {
    const { machine, run, probes, verdicts, recoveries, now } = rig({ asksDead: true });
    run(13_005);
    assert.deepEqual([verdicts.length, machine.peers.state[0]], [1, State.DEAD]);
    const before = probes.length;
    run(60_000);
    assert.deepEqual(probes.slice(before), [23_000, 33_000, 43_000, 53_000]);
    assert.equal(verdicts.length, 1);
    machine.answered(0, now());
    assert.deepEqual([machine.peers.state[0], recoveries], [State.ALIVE, [3]]);
    run(80_000);
    assert.equal(verdicts.length, 2, 'it may die again');
  });

  test('of a former owner, or whose verdict an operator gave, is asked too', () => {
    const { machine, run, probes } = rig({ asksDead: true });
    machine.restoreDead(0);
    run(21_000);
    assert.deepEqual(probes, [10_000, 20_000]);
    const held = rig({ asksDead: true });
    held.run(13_005);
    held.machine.hold(0);
    held.machine.endHold(0, true);
    const before = held.probes.length;
    held.run(24_000);
    assert.equal(held.probes.length, before + 1);
  });

  test('is back after so many answers in a row, and not by traffic alone', () => {
    const { machine, run, recoveries, now, probes } = rig({ asksDead: true, upCount: 3 });
    run(13_005);
    machine.heard(0, now());
    assert.equal(machine.peers.state[0], State.DEAD);
    run(23_000);
    machine.answered(0, now());
    run(25_000);
    assert.deepEqual(probes.slice(3), [23_000, 24_000], 'the second question comes soon');
    assert.equal(recoveries.length, 0);
    // The second one was not answered: counting begins anew.
    run(34_000);
    machine.answered(0, now());
    run(35_000);
    machine.answered(0, now());
    assert.equal(machine.peers.state[0], State.DEAD);
    run(36_000);
    machine.answered(0, now());
    assert.deepEqual([machine.peers.state[0], recoveries], [State.ALIVE, [3]]);
    assert.equal(machine.counters.returned, 1);
  });

  test('any other dead peer is left alone', () => {
    const { run, probes } = rig();
    run(100_000);
    assert.equal(probes.length, 3);
  });
});

describe('a policy that changes', () => {
  const changed: Policy = { ...POLICY, intervalMs: 20_000, retries: 2 };
  test('a healthy peer is watched by the new one, from its last evidence on', () => {
    const { machine, run, probes, verdicts } = rig();
    run(6_000);
    machine.update(0, changed, false, true);
    run(30_000);
    assert.deepEqual([probes, verdicts], [[20_000, 21_000], [{ at: 22_000, earliest: 22_000 }]]);
  });

  test('a suspicion begins anew: its verdict may come later, never earlier', () => {
    const { machine, run, probes, verdicts } = rig({ retries: 5 });
    run(12_500);
    machine.update(0, { ...POLICY, retries: 2 }, false, true);
    run(20_000);
    assert.deepEqual(probes.slice(3), [12_505, 13_505]);
    assert.deepEqual(verdicts, [{ at: 14_505, earliest: 14_505 }]);
  });

  test('the dead stay dead, the held are held, and neither gets a second verdict', () => {
    for (const state of [State.DEAD, State.HELD]) {
      const { machine, run, verdicts } = rig();
      run(13_000);
      if (state === State.HELD) machine.hold(0);
      machine.update(0, changed, false, true);
      assert.equal(machine.peers.state[0], state);
      run(80_000);
      assert.equal(machine.peers.state[0], state);
      assert.equal(verdicts.length, 1);
    }
  });
});

test('property: whatever happens, no verdict before last evidence + interval + all waits', () => {
  const event = fc.record({
    at: fc.nat(60_000),
    kind: fc.constantFrom('heard', 'old', 'sent', 'answered', 'stall', 'vouch'),
    size: fc.nat(8_000),
  });
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 60 }),
      fc.record({
        mode: fc.constantFrom(Mode.PERIODIC, Mode.ON_IDLE, Mode.ON_DEMAND),
        intervalMs: fc.integer({ min: 200, max: 8_000 }),
        retryIntervalMs: fc.integer({ min: 200, max: 2_000 }),
        retries: fc.integer({ min: 1, max: 5 }),
        retryFactorPercent: fc.constantFrom(0, 0, 150, 300),
        retryLimitMs: fc.constantFrom(0, 3_000),
        retryScheduleMs: fc.oneof(
          fc.constant([]),
          fc.array(fc.integer({ min: 200, max: 4_000 }), { minLength: 1, maxLength: 5 }),
        ),
        jitterPercent: fc.integer({ min: 0, max: 50 }),
        unprovenMs: fc.constantFrom(0, 1, 20_000),
        proveEveryMs: fc.constantFrom(0, 8_000, 20_000),
        upCount: fc.constantFrom(0, 3),
        asksDead: fc.boolean(),
      }),
      fc.boolean(),
      fc.boolean(),
      fc.integer({ min: 0, max: 20 }),
      (events, policy, gated, spreadFirst, following) => {
        let now = 0;
        let evidence = 0;
        let probes = 0;
        let unsent = 0;
        let answered = false;
        const machine = new Machine(0, 1, {
          probe: () => {
            probes++;
            unsent = following;
            return unsent;
          },
          probeOn: (_handle, left) => {
            assert.equal(left, --unsent);
            return true;
          },
          verdict: () => {
            const earliest = evidence + detectionMs(policy);
            assert(now >= earliest, `verdict at ${now}, earliest is ${earliest}`);
            assert(probes >= waitsOf(policy).retries, `verdict after ${probes} probes`);
            const unprovenMs = policy.unprovenMs > 0 ? policy.unprovenMs : Number.POSITIVE_INFINITY;
            assert(answered || now - evidence >= unprovenMs, 'verdict on a peer that never answered');
            assert.equal(unsent, 0);
            probes = 0;
          },
          recovered: () => {},
        });
        machine.add(0, policy, 0, { gated, firstAskMs: spreadFirst ? SPREAD : undefined });
        const ordered = [...events].sort((a, b) => a.at - b.at);
        const hear = (at: number) => {
          evidence = Math.max(evidence, at);
          machine.heard(0, at);
        };
        while (now < 80_000) {
          now += STEP_MS;
          for (let next = ordered[0]; next !== undefined && next.at <= now; next = ordered[0]) {
            const { kind, size } = next;
            ordered.shift();
            if (kind === 'heard') hear(now);
            else if (kind === 'old') hear(Math.max(0, now - size));
            else if (kind === 'sent') machine.sent(0, now);
            else if (kind === 'stall') now += size;
            else if (kind === 'vouch') vouch(machine, now, now + size);
            else {
              evidence = now;
              answered = true;
              machine.answered(0, now);
              probes = 0;
            }
          }
          machine.advance(now);
        }
      },
    ),
  );
});

describe('a peer that has never answered', () => {
  test('is asked on and never judged by its silence; once it has answered, it is', () => {
    const { machine, run, probes, verdicts, now } = rig({}, { proven: false });
    run(300_000);
    assert.deepEqual(verdicts, []);
    assert.equal(machine.peers.state[0], State.UNPROVEN);
    assert.deepEqual([probes.length, machine.counters.unproven], [31, 1]);
    // Nor does its silence count among those that make a storm.
    assert.equal(machine.counters.outcomes.read().silent[0], 0);
    machine.answered(0, now());
    assert.equal(machine.peers.state[0], State.ALIVE);
    run(400_000);
    assert.deepEqual(verdicts, [{ at: 313_000, earliest: 313_000 }]);
  });

  test('is judged after the time that its policy gives, counted from its last sign of life', () => {
    const { machine, run, verdicts, now } = rig({ unprovenMs: 60_000 }, { proven: false });
    run(20_000, () => now() === 15_000 && machine.heard(0, now()));
    run(200_000);
    assert(verdicts[0]!.at >= 75_000 && verdicts[0]!.at < 90_000, JSON.stringify(verdicts));
  });

  test('is one that was reached at another place before', () => {
    const { machine, run, verdicts } = rig();
    machine.moved(0, 0);
    run(100_000);
    assert.deepEqual(verdicts, []);
  });

  test('is judged as any other if it answered a former owner', () => {
    const { machine, run, verdicts } = rig({}, { proven: false });
    machine.add(1, POLICY, 0, { proven: true });
    run(20_000);
    assert.deepEqual(verdicts, [{ at: 13_000, earliest: 13_000 }]);
    assert.deepEqual([machine.peers.state[0], machine.peers.state[1]], [State.UNPROVEN, State.DEAD]);
  });
});

test('ways that changed: nobody is judged until somebody has answered on the way since', () => {
  const { machine, run, verdicts, now } = rig({}, { gated: true });
  const standing = () => vouch(machine, now(), now() + 1_000);
  const given: readonly { at: number }[] = verdicts;
  machine.add(1, { ...POLICY, mode: Mode.PERIODIC }, 0, { gated: true });
  machine.waysChanged();
  run(60_000, standing);
  assert.equal(given.length, 0);
  machine.answered(1, now());
  run(90_000, standing);
  // The first is dead, and was all the while; the second has 13 s from its answer on.
  assert.equal(machine.peers.state[0], State.DEAD);
  assert(given[0]!.at > 60_000 && given[0]!.at <= 73_000, JSON.stringify(given));
});

describe('a verdict that was held back', () => {
  test('is given only after the peer was asked anew, in full, since the hold ended', () => {
    const { machine, run, probes, verdicts } = rig();
    run(13_000);
    machine.hold(0);
    run(45_000);
    const before = probes.length;
    machine.endHold(0, false);
    run(47_900);
    assert.equal(verdicts.length, 1);
    run(48_005);
    assert.equal(verdicts.length, 2);
    assert.equal(probes.length - before, POLICY.retries);
  });

  test('is taken back by an answer to what was asked anew', () => {
    const { machine, run, verdicts, recoveries, now } = rig();
    run(13_000);
    machine.hold(0);
    run(45_000);
    machine.endHold(0, false);
    run(47_000, () => now() === 46_500 && machine.answered(0, now()));
    run(56_000);
    assert.equal(verdicts.length, 1);
    assert.equal(recoveries.length, 1);
    assert.equal(machine.peers.state[0], State.ALIVE);
  });

  test('stands as it is where an operator says so', () => {
    const { machine, run, probes } = rig();
    run(13_000);
    machine.hold(0);
    const before = probes.length;
    machine.endHold(0, true);
    run(60_000);
    assert.deepEqual([probes.length - before, machine.peers.state[0]], [0, State.DEAD]);
  });
});

describe('a budget for probes', () => {
  /** Peers that answer after `rttMs` unless they are dead, probed under a budget. */
  function paced(peers: number, perSecond: number, dead: ReadonlySet<number>, untilMs: number) {
    const pacer = new Pacer(perSecond, 0);
    const answers: { at: number; handle: number }[] = [];
    const asked = new Map<number, number[]>();
    const verdicts = new Map<number, number>();
    let now = 0;
    let behind = 0;
    const machine = new Machine(0, peers, {
      mayGoOn: () => pacer.open,
      probe: (handle) => {
        pacer.spend();
        asked.set(handle, [...(asked.get(handle) ?? []), now]);
        if (!dead.has(handle)) answers.push({ at: now + 100, handle });
        return 0;
      },
      verdict: (handle) => verdicts.set(handle, now),
      recovered: () => {},
    });
    for (let handle = 0; handle < peers; handle++) machine.add(handle, POLICY, 0, { proven: true });
    while (now < untilMs) {
      now += STEP_MS;
      while (answers[0] && answers[0].at <= now) machine.answered(answers.shift()!.handle, now);
      pacer.fill(now);
      machine.advance(now);
      behind = Math.max(behind, machine.behindMs);
    }
    return { asked, verdicts, behind, machine };
  }

  test('is kept, and who waits longest is asked first', () => {
    const { asked, behind } = paced(1_000, 50, new Set(), 25_000);
    const sent = [...asked.values()].flat().sort((a, b) => a - b);
    for (let at = 0; at < 25_000; at += 1_000)
      assert(sent.filter((time) => time >= at && time < at + 1_000).length <= 52);
    // All were due at 10 s: each is asked once before any is asked again.
    assert.equal(asked.size, sent.length);
    assert(behind > 10_000, `only ${behind} ms behind`);
  });

  test('that does not suffice makes nobody dead who lives, and finds who is dead', () => {
    const dead = new Set([3, 500, 999]);
    const { asked, verdicts } = paced(1_000, 60, dead, 120_000);
    assert.deepEqual(
      [...verdicts.keys()].sort((a, b) => a - b),
      [...dead],
    );
    // Asked late, each still had its time to answer.
    for (const handle of dead) {
      const times = [...asked.get(handle)!.slice(-3), verdicts.get(handle)!];
      times.slice(1).forEach((time, n) => {
        assert(time - times[n]! >= 0.75 * POLICY.retryIntervalMs, `${time - times[n]!} ms after the probe before`);
      });
    }
  });

  test('that suffices delays nobody', () => {
    const { behind } = paced(100, 10_000, new Set(), 30_000);
    assert.equal(behind, 0);
  });
});

describe('round trip and loss', () => {
  test('an answer to a probe that was sent once is a sample; one to a repeated probe is none', () => {
    const { machine, run, now } = rig({}, { proven: true });
    run(10_000);
    assert.equal(machine.peers.state[0], State.PROBING);
    run(10_040);
    machine.answered(0, now());
    const { smoothedMs, probes, lost } = machine.peers.roundTrips.of(0);
    assert.deepEqual([smoothedMs, probes, lost], [40, 1, 0]);
    // The next probe is lost, and its repetition answered: which of the two was answered is not known.
    run(21_200);
    machine.answered(0, now());
    assert.deepEqual(machine.peers.roundTrips.of(0), { smoothedMs: 40, variationMs: 20, probes: 3, lost: 1 });
    machine.repeated(0);
    run(31_250);
    machine.repeated(0);
    machine.answered(0, now());
    assert.equal(machine.peers.roundTrips.of(0).smoothedMs, 40);
  });

  test('all probes of a death are lost; those of a peer that has never answered say nothing', () => {
    const dead = rig();
    dead.run(14_000);
    assert.equal(dead.verdicts.length, 1);
    assert.deepEqual(dead.machine.peers.roundTrips.of(0), { smoothedMs: 0, variationMs: 0, probes: 3, lost: 3 });
    const unproven = rig({}, { proven: false });
    unproven.run(60_000);
    assert.equal(unproven.machine.peers.roundTrips.of(0).probes, 0);
  });

  test('another address has another round trip', () => {
    const { machine, run, now } = rig();
    run(10_000);
    machine.answered(0, now() + 7);
    machine.moved(0, 1);
    assert.deepEqual(machine.peers.roundTrips.of(0), { smoothedMs: 0, variationMs: 0, probes: 0, lost: 0 });
  });
});

describe('an operator', () => {
  test('has a living peer condemned: no probe follows, and no second verdict', () => {
    const { machine, probes, verdicts, run } = rig();
    run(5_000);
    assert.equal(machine.condemn(0), true);
    assert.equal(machine.peers.state[0], State.DEAD);
    run(60_000);
    assert.deepEqual([probes, verdicts], [[], []]);
    assert.equal(machine.condemn(0), false);
  });

  test('is told of a peer that he looks at, and of no other', () => {
    const told: [handle: number, event: Traced, value: number][] = [];
    const machine = new Machine(0, 4, {
      probe: () => 0,
      verdict: () => {},
      recovered: () => {},
      traced: (...event) => told.push(event),
    });
    for (const handle of [0, 1]) {
      machine.add(handle, POLICY, 0);
      machine.answered(handle, 0);
    }
    machine.trace(0, true);
    for (let now = 5; now <= 10_010; now += 5) machine.advance(now);
    for (const handle of [0, 1]) machine.answered(handle, 10_030);
    machine.heard(0, 15_000);
    for (let now = 10_030; now <= 20_100; now += 5) machine.advance(now);
    assert.deepEqual(
      told.map(([handle, event]) => [handle, event]),
      [
        [0, Traced.ASKED],
        [0, Traced.ANSWERED],
        [0, Traced.SUPPRESSED],
      ],
    );
    machine.trace(0, false);
    for (let now = 20_100; now <= 40_000; now += 5) machine.advance(now);
    assert.equal(told.length, 3);
  });
});

describe('a peer that is asked anew after a hold', () => {
  const reasked = () => {
    const all = rig();
    all.run(13_005);
    all.machine.hold(0);
    all.run(20_000);
    all.machine.endHold(0, false);
    return all;
  };

  test('is told of when it answers, although its SA was registered again meanwhile', () => {
    for (const policy of [POLICY, { ...POLICY, retryIntervalMs: 2_000 }]) {
      const { machine, run, recoveries, now } = reasked();
      run(20_100);
      assert.equal(machine.peers.state[0], State.PROBING);
      machine.update(0, policy, false, true);
      machine.answered(0, now());
      assert.deepEqual([recoveries.length, machine.peers.state[0]], [1, State.ALIVE]);
    }
  });

  test('is judged when it is silent, although its SA was registered again before it was asked', () => {
    const { machine, run, verdicts } = reasked();
    machine.update(0, POLICY, false, true);
    run(40_000);
    assert.deepEqual([verdicts.length, machine.peers.state[0]], [2, State.DEAD]);
  });
});

test('a peer that is not watched stays so, after an operator had it deleted, and after a takeover', () => {
  const { machine, run, probes, verdicts, now } = rig({ mode: Mode.DISABLED });
  assert(machine.condemn(0));
  run(1_000);
  machine.heard(0, now());
  run(60_000);
  assert.deepEqual([probes, verdicts, machine.peers.state[0]], [[], [], State.UNWATCHED]);
  const none = { mode: Mode.DISABLED, intervalMs: 0, retryIntervalMs: 0, retries: 0, asksDead: true };
  const taken = rig(none, { proven: false });
  taken.machine.restoreDead(0);
  taken.run(60_000);
  assert.deepEqual(taken.probes, []);
});

test('PERIODIC asks once an interval, however often a round trip is wanted', () => {
  const { machine, run, probes, now } = rig({ mode: Mode.PERIODIC, intervalMs: 1_000, proveEveryMs: 1_000 });
  let seen = 0;
  run(20_000, () => {
    if (probes.length > seen) machine.answered(0, now());
    seen = probes.length;
  });
  probes.slice(1).forEach((at, n) => assert(at - probes[n]! >= 1_000, `${probes}`));
});

test('a probe that is late for lack of budget is not the last but in name, if the wait after it is shorter', () => {
  const verdicts: number[] = [];
  const probes: number[] = [];
  let now = 0;
  const machine = new Machine(0, 1, {
    probe: () => {
      probes.push(now);
      return 0;
    },
    mayGoOn: () => now < 19_990 || now > 22_300,
    verdict: () => verdicts.push(now),
    recovered: () => {},
  });
  machine.add(0, { ...POLICY, retryIntervalMs: 0, retries: 0, retryScheduleMs: [10_000, 200] }, 0, { proven: true });
  for (; now < 30_000; now += STEP_MS) machine.advance(now);
  assert.equal(probes.length, 2);
  assert(verdicts.length === 1 && verdicts[0]! - probes[1]! >= 200, `${probes} ${verdicts}`);
});
