/**
 * Bytes that the hot paths leave on the heap, per operation, as one JSON object: a process of its own, whose young
 * generation is too large to be collected meanwhile, so that the figures repeat.
 */

import { SpiIndex, setSpi, spiPairs } from '../../../workers/base/spi-index.ts';
import { Machine } from '../../../workers/liveness/machine.ts';
import { Mode } from '../../../workers/liveness/policy.ts';
import { SendBuffers } from '../../../workers/net/send-buffers.ts';
import { Pacer } from '../../../workers/shard/pacer.ts';

const PEERS = 20_000;
const POLICY = {
  mode: Mode.ON_IDLE,
  intervalMs: 10_000,
  retryIntervalMs: 1_000,
  retries: 3,
  jitterPercent: 30,
  unprovenMs: 0,
};
const ROUNDS = 12;

/** Bytes per operation: the least of several rounds, for the compiler leaves things on the heap as well while it works. */
function bytesPer(operations: number, run: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let n = 0; n < ROUNDS; n++) {
    globalThis.gc!();
    const before = process.memoryUsage().heapUsed;
    run();
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / operations);
  }
  return least;
}

const answers: number[] = [];
const pacer = new Pacer(Number.POSITIVE_INFINITY, 0);
let dead = false;
const machine = new Machine(0, PEERS, {
  mayGoOn: () => pacer.open,
  probe(handle) {
    pacer.spend();
    if (!dead) answers.push(handle);
    return 0;
  },
  verdict: () => {},
  recovered: () => {},
});
for (let handle = 0; handle < PEERS; handle++) machine.add(handle, POLICY, 0, { proven: true });
let now = 0;

/** One interval, in which each peer's timer fires once, to be put off or to ask. */
function interval(each: () => void): void {
  for (const end = now + POLICY.intervalMs; now < end; ) {
    now += 5;
    each();
    pacer.fill(now);
    machine.advance(now);
    for (let n = 0; n < answers.length; n++) machine.answered(answers[n]!, now);
    answers.length = 0;
  }
}

const evidence = bytesPer(PEERS, () => {
  for (let handle = 0; handle < PEERS; handle++) machine.heard(handle, now);
});
const timer = bytesPer(PEERS, () => {
  interval(() => {
    if (now % 1_000 === 0) for (let handle = 0; handle < PEERS; handle++) machine.heard(handle, now);
  });
});
const probe = bytesPer(PEERS, () => interval(() => {}));
const verdict = bytesPer(PEERS, () => {
  dead = true;
  interval(() => {});
  interval(() => {});
  dead = false;
  for (let handle = 0; handle < PEERS; handle++) machine.answered(handle, now);
});

const pairs = spiPairs(PEERS);
const index = new SpiIndex();
for (let handle = 0; handle < PEERS; handle++) {
  setSpi(pairs, handle, [handle, 0, 0, 0]);
  index.add(pairs, handle);
}
const buffers = new SendBuffers();
const wire = bytesPer(PEERS, () => {
  for (let handle = 0; handle < PEERS; handle++) {
    if (index.find(pairs, handle, 0, 0, 0) !== handle) throw new Error('not found');
    buffers.next(65);
  }
});

process.stdout.write(JSON.stringify({ evidence, timer, probe, verdict, wire }));
