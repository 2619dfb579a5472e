/**
 * The liveness machine alone: timer to probe to answer, evidence, and timer to verdict, without wire and threads. Beside the
 * bare timing wheel that carries it: one timer set and run out.
 */

import { Machine } from '../../../workers/liveness/machine.ts';
import { Mode } from '../../../workers/liveness/policy.ts';
import { TICK_MS, TimingWheel } from '../../../workers/liveness/wheel.ts';
import { cpuNanosPerOperation, type Result, round } from '../measure.ts';

const PEERS = 100_000;
const INTERVAL_MS = 1_000;
const PERIODIC = {
  mode: Mode.PERIODIC,
  intervalMs: INTERVAL_MS,
  retryIntervalMs: 200,
  retries: 3,
  jitterPercent: 0,
  unprovenMs: 0,
};

export async function machine(): Promise<Result> {
  const probe = answeredProbe();
  const baseline = bareTimer();
  return {
    peers: PEERS,
    ns_per_probe: probe,
    ns_per_evidence: heard(),
    ns_per_verdict: silence(),
    baseline,
    ratio: round(probe / baseline),
  };
}

/** A probe each, answered within the tick: ns of a peer's turn, timer to answer. */
export function answeredProbe(): number {
  const asked: number[] = [];
  const peers = new Machine(0, PEERS, {
    probe: (handle) => {
      asked.push(handle);
      return 0;
    },
    verdict: () => {},
    recovered: () => {},
  });
  for (let handle = 0; handle < PEERS; handle++) peers.add(handle, PERIODIC, -(handle % INTERVAL_MS));
  let now = 0;
  return cpuNanosPerOperation(PEERS, () => {
    for (const end = now + INTERVAL_MS; now < end; ) {
      now += TICK_MS;
      peers.advance(now);
      for (const handle of asked) peers.answered(handle, now);
      asked.length = 0;
    }
  });
}

function heard(): number {
  const peers = new Machine(0, PEERS, { probe: () => 0, verdict: () => {}, recovered: () => {} });
  for (let handle = 0; handle < PEERS; handle++) peers.add(handle, PERIODIC, 0);
  let now = 0;
  return cpuNanosPerOperation(PEERS, () => {
    now++;
    for (let handle = 0; handle < PEERS; handle++) peers.heard(handle, now);
  });
}

/** From being added to its verdict, three probes unanswered between. */
function silence(): number {
  return cpuNanosPerOperation(PEERS, () => {
    let verdicts = 0;
    const peers = new Machine(0, PEERS, {
      probe: () => 0,
      verdict: () => {
        verdicts++;
      },
      recovered: () => {},
    });
    for (let handle = 0; handle < PEERS; handle++)
      peers.add(handle, PERIODIC, -(handle % INTERVAL_MS), { proven: true });
    for (let now = 0; now < 2 * INTERVAL_MS; now += TICK_MS) peers.advance(now);
    if (verdicts !== PEERS) throw new Error(`${verdicts} verdicts, not ${PEERS}`);
  });
}

function bareTimer(): number {
  const wheel = new TimingWheel(0, PEERS);
  let now = 0;
  return cpuNanosPerOperation(PEERS, () => {
    for (let handle = 0; handle < PEERS; handle++) wheel.schedule(handle, now + (handle % INTERVAL_MS));
    for (const end = now + INTERVAL_MS + TICK_MS; now < end; ) {
      now += TICK_MS;
      wheel.advance(now, () => {});
    }
  });
}
