import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, Rig } from '../integration/rig.ts';

const SPOKES = 3_000;
/** The window of the log, ms. */
const WINDOW_MS = 10_000;

test('thousands of deaths at once leave a log that can be read, with their sum', { timeout: 90_000 }, async (t) => {
  const rig = await Rig.start({ spokes: SPOKES, nodeEnv: { LOG_LEVEL: 'info' } });
  t.after(() => rig.stop());
  await rig.startAgent();
  for (let spoke = 0; spoke < SPOKES; spoke++) rig.responder.kill(spoke, 0);
  await eventually('all are dead', DETECTION_MS + 30_000, () => rig.verdicts.length >= SPOKES);
  await sleep(WINDOW_MS + 500);
  const lines = rig.node.log.split('\n').filter((line) => line.startsWith('{'));
  assert(lines.length < 100, `${lines.length} lines`);
  const told = lines.map(
    (line) => JSON.parse(line) as { msg: string; verdicts?: number; more?: number; reason?: string },
  );
  const named = told.filter(({ msg }) => msg === 'peer is dead');
  assert(named.length > 0 && named.every(({ reason }) => /^\d+ probes without an answer, /.test(reason!)));
  const more = told.find(({ msg }) => msg === 'peer is dead: more of these')?.more ?? 0;
  const rest = told.reduce(
    (sum, { msg, verdicts = 0 }) => sum + (msg.startsWith('more peers are dead') ? verdicts : 0),
    0,
  );
  assert.equal(named.length + more + rest, SPOKES);
});
