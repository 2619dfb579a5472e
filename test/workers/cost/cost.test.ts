/** The cost of a probe in things that can be counted: this guards against slower code without a clock. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { ClosedLoop } from '../../../loadtest/spokes/closed-loop.ts';
import type { FromShard } from '../../../workers/shard/protocol.ts';

const FLAGS = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64', '--single-threaded-gc'];
/**
 * Bytes an operation at most. No object: what there is are numbers with a fraction, 12 bytes each, where V8 does not inline
 * a call that takes or returns one; an object a peer, or a closure, would be more. A verdict has three probes in it.
 */
const LIMITS: Readonly<Record<string, number>> = { evidence: 1, timer: 32, probe: 130, verdict: 150, wire: 1 };

test('evidence, timers, probes and verdicts leave no objects behind', () => {
  const script = new URL('./allocations.ts', import.meta.url).pathname;
  const output = execFileSync(process.execPath, [...FLAGS, script], { encoding: 'utf8', env: {} });
  for (const [path, bytes] of Object.entries(JSON.parse(output) as Record<string, number>))
    assert(bytes <= LIMITS[path]!, `${path}: ${bytes} bytes an operation, at most ${LIMITS[path]}`);
});

describe('messages', () => {
  const PEERS = 1_000;
  const INTERVAL_MS = 10_000;

  /** A shard of a thousand peers in virtual time, and what it sends and posts. */
  function rig() {
    const posted: FromShard[] = [];
    const loop = new ClosedLoop({
      peers: PEERS,
      seed: 'cost',
      intervalMs: INTERVAL_MS,
      retryIntervalMs: 1_000,
      retries: 3,
      post: (message) => posted.push(message),
    });
    const run = (ms: number) => {
      const before = loop.probes;
      posted.length = 0;
      loop.run(ms);
      return { probes: loop.probes - before, posted: posted.map(({ type }) => type) };
    };
    return { spokes: loop.spokes, run };
  }

  test('one datagram a probe, and nothing to the main thread for it', () => {
    const { run } = rig();
    run(INTERVAL_MS);
    const { probes, posted } = run(5 * INTERVAL_MS);
    assert.equal(probes, 5 * PEERS);
    // How peers fare, summed up, four times a second at most.
    assert(posted.length <= (5 * INTERVAL_MS) / 250, `${posted.length} messages`);
    assert.deepEqual(new Set(posted), new Set(['outcomes']));
  });

  test('verdicts of a tick go together', () => {
    const { spokes, run } = rig();
    run(INTERVAL_MS);
    for (let n = 0; n < PEERS; n++) spokes.kill(n, 0);
    const { probes, posted } = run(2 * INTERVAL_MS + 5_000);
    // The last of three probes asks with the neighbouring ids too.
    assert.equal(probes, 6 * PEERS);
    const verdicts = posted.filter((type) => type === 'verdicts').length;
    // A thousand deaths spread over 2,000 ticks.
    assert(verdicts <= PEERS, `${verdicts} messages for ${PEERS} verdicts`);
  });
});
