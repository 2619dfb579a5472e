/** What a probe costs in things that can be counted: the guard against a slower engine that no clock is needed for. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { type FleetShape, saOf } from '../../../loadtest/spokes/fleet.ts';
import { Responder } from '../../../loadtest/spokes/responder.ts';
import { Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { toShardSa } from '../../../services/concentrator/shard-sa.ts';
import { readCanary } from '../../../workers/canary.ts';
import { SPREAD } from '../../../workers/liveness/machine.ts';
import type { FromShard } from '../../../workers/protocol.ts';
import { Shard } from '../../../workers/shard.ts';

const FLAGS = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64', '--single-threaded-gc'];
/**
 * Bytes an operation at most. No object: what there is are numbers with a fraction, 12 bytes each, where V8 does not inline
 * a call that takes or returns one; an object a peer, or a closure, would be more.
 */
const LIMITS: Readonly<Record<string, number>> = { evidence: 1, timer: 32, probe: 130, verdict: 130, wire: 1 };

test('evidence, timers, probes and verdicts leave no objects behind', () => {
  const script = new URL('./allocations.ts', import.meta.url).pathname;
  const output = execFileSync(process.execPath, [...FLAGS, script], { encoding: 'utf8', env: {} });
  for (const [path, bytes] of Object.entries(JSON.parse(output) as Record<string, number>))
    assert(bytes <= LIMITS[path]!, `${path}: ${bytes} bytes an operation, at most ${LIMITS[path]}`);
});

describe('messages', () => {
  const PEERS = 1_000;
  const INTERVAL_MS = 10_000;
  const SOCKETS = [1, 2].map((n) => ({ address: `127.0.0.${n}`, port: 9 }));

  /** A shard of a thousand peers in virtual time, and what it sends and posts. */
  function rig() {
    let now = 0;
    const fleet: FleetShape = { count: PEERS, shards: 1, seed: 'cost', sockets: SOCKETS };
    const spokes = new Responder('cost', PEERS);
    const posted: FromShard[] = [];
    const answers: Buffer[] = [];
    let probes = 0;
    const shard = new Shard({
      now: () => now,
      wall: () => now,
      fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
      send(message) {
        if (readCanary(message) !== undefined) return true;
        probes++;
        const answer = spokes.answer(message);
        if (answer) answers.push(answer);
        return true;
      },
      post: (message) => posted.push(message),
    });
    shard.handle({
      type: 'path',
      path: { canaryAddress: 1, canaryPort: 9, guarded: false, ready: true, open: true },
    });
    const untilMs = Number.MAX_SAFE_INTEGER;
    shard.handle({ type: 'lease', fromMs: 0, untilMs, vouchedUntilMs: untilMs });
    const policy = create(PolicySchema, {
      mode: Mode.PERIODIC,
      intervalMs: INTERVAL_MS,
      retryIntervalMs: 1_000,
      retries: 3,
    });
    const known = { nextMid: 0, heardAgeMs: 0, dead: false, candidates: 0, site: 0, firstAskMs: SPREAD };
    const sas = Array.from({ length: PEERS }, (_, n) => {
      const { keys, ...sa } = saOf(fleet, n, 0, policy);
      return toShardSa(n, sa, keys, known);
    });
    shard.handle({ type: 'upsert', sas });
    const run = (ms: number) => {
      probes = 0;
      posted.length = 0;
      for (const end = now + ms; now < end; ) {
        now += 5;
        shard.tick();
        for (const answer of answers.splice(0)) shard.receive(answer);
      }
      return { probes, posted: posted.map(({ type }) => type) };
    };
    return { spokes, run };
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
    assert.equal(probes, 3 * PEERS);
    const verdicts = posted.filter((type) => type === 'verdicts').length;
    // A thousand deaths spread over 2,000 ticks.
    assert(verdicts <= PEERS, `${verdicts} messages for ${PEERS} verdicts`);
  });
});
