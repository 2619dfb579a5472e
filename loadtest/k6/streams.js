// Hundreds of headends: evidence, probes run by the headend, spokes that fall silent, verdicts on the stream and at watchers.
//   npm run k6 -- streams     npm run k6 -- soak     npm run k6 -- spike

import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import grpc from 'k6/net/grpc';
import { clearInterval, setInterval, setTimeout } from 'k6/timers';
import { connect, makeClient, makeSa, openShard } from './headend.js';

const PROFILE = __ENV.PROFILE || 'streams';
const HEADENDS = Number(__ENV.HEADENDS || 200);
const WATCHERS = Number(__ENV.WATCHERS || 20);
/** SAs of a headend; of these, so many fall silent for good. */
const SAS = Number(__ENV.SAS || 50);
const VICTIMS = Number(__ENV.VICTIMS || 2);
/** Share of the SAs with traffic; the others are probed. */
const BUSY = 0.6;
const SECONDS = Number(__ENV.SECONDS || { streams: 60, soak: 3_600, spike: 60 }[PROFILE]);
const POLICY = { mode: 'MODE_ON_IDLE', intervalMs: 5_000, retryIntervalMs: 1_000, retries: 3, action: 'ACTION_CLEAR' };
const DETECTION_MS = 8_000;
const EVIDENCE_MS = 1_000;
const WATCH_AFTER_S = 5;

const registerMs = new Trend('register_ms', true);
const verdictMs = new Trend('verdict_latency_ms', true);
const watchMs = new Trend('watch_latency_ms', true);
const verdicts = new Counter('verdicts');
const falseVerdicts = new Counter('false_verdicts');
const missed = new Counter('missed_verdicts');
const streamErrors = new Counter('stream_errors');
const probesAnswered = new Counter('probes_answered');

/** So many headends at once, each for its whole life. */
function headends(vus, startTime, seconds) {
  return {
    executor: 'per-vu-iterations',
    vus,
    iterations: 1,
    startTime: `${startTime}s`,
    maxDuration: `${seconds + 60}s`,
    exec: 'headend',
    env: { LIFE_MS: String(seconds * 1_000) },
  };
}

export const options = {
  scenarios: {
    headends: headends(PROFILE === 'spike' ? Math.ceil(HEADENDS / 4) : HEADENDS, 0, SECONDS),
    // All at once, in the middle of it, and gone again.
    ...(PROFILE === 'spike' && { spike: headends(HEADENDS, Math.round(SECONDS / 3), Math.round(SECONDS / 3)) }),
    watchers: {
      executor: 'per-vu-iterations',
      vus: WATCHERS,
      iterations: 1,
      // A headend that nobody has heard of cannot be watched.
      startTime: `${WATCH_AFTER_S}s`,
      maxDuration: `${SECONDS + 60}s`,
      exec: 'watcher',
    },
  },
  thresholds: {
    false_verdicts: ['count==0'],
    missed_verdicts: ['count==0'],
    stream_errors: ['count==0'],
    verdicts: ['count>0'],
    register_ms: [PROFILE === 'spike' ? 'p(95)<3000' : 'p(95)<1000'],
    verdict_latency_ms: [PROFILE === 'spike' ? 'p(99)<1000' : 'p(99)<250'],
    watch_latency_ms: [PROFILE === 'spike' ? 'p(99)<1000' : 'p(99)<250'],
  },
};

const client = makeClient();

/** Registers its SAs, tells of their traffic, answers for the idle, and lets some fall silent. */
export function headend() {
  connect(client);
  const lifeMs = Number(__ENV.LIFE_MS);
  const silent = new Set();
  const due = new Set();
  let handles = [];
  let sentAt = 0;
  let timer;
  const stream = openShard(client, `k6-${exec.scenario.name}-${exec.scenario.iterationInTest}`, {
    ready: () => {
      sentAt = Date.now();
      stream.write({ upsert: { batchId: '1', sas: Array.from({ length: SAS }, (_, n) => makeSa(n, POLICY)) } });
    },
    batchDone: (done) => {
      if (done.batchId !== '1') return;
      registerMs.add(Date.now() - sentAt);
      handles = done.handles;
      timer = setInterval(() => {
        const heardHandles = handles.slice(0, SAS * BUSY).filter((handle) => !silent.has(handle));
        stream.write({ evidence: { heardHandles, sentHandles: heardHandles } });
      }, EVIDENCE_MS);
      for (let n = 0; n < VICTIMS; n++) {
        // One busy, one idle, and so on; late enough to be seen alive, early enough to be found dead.
        const handle = handles[n % 2 === 0 ? n : SAS - 1 - n];
        const at = DETECTION_MS + Math.random() * (lifeMs - 3 * DETECTION_MS);
        setTimeout(() => {
          silent.add(handle);
          due.add(`spoke-${handles.indexOf(handle)}`);
        }, at);
      }
      setTimeout(() => {
        clearInterval(timer);
        missed.add(due.size);
        stream.write({ remove: { batchId: '2', sas: handles.map((_, n) => makeSa(n, POLICY).id) } });
        setTimeout(() => stream.end(), 1_000);
      }, lifeMs);
    },
    delegatedProbes: ({ handles: asked, probeIds }) => {
      const answered = asked.map((handle, n) => [handle, probeIds[n]]).filter(([handle]) => !silent.has(handle));
      probesAnswered.add(answered.length);
      if (answered.length > 0)
        stream.write({
          delegatedResults: { handles: answered.map(([handle]) => handle), probeIds: answered.map(([, id]) => id) },
        });
    },
    verdicts: ({ verdicts: given }) => {
      for (const { id, peerId, attempt, history } of given) {
        verdicts.add(1);
        if (!due.delete(peerId)) falseVerdicts.add(1);
        verdictMs.add(Date.now() - Number(history.earliestUnixMs));
        stream.write({ verdictAcks: { acks: [{ verdictId: id, outcome: 'OUTCOME_CLEARED', attempt }] } });
      }
    },
    failed: () => {
      streamErrors.add(1);
      clearInterval(timer);
    },
  });
}

/** Watches one headend from beside it, as a route controller does. */
export function watcher() {
  connect(client);
  const stream = new grpc.Stream(client, 'dpd.v1.VerdictService/WatchVerdicts');
  stream.on('data', ({ verdicts: given }) => {
    for (const { history } of given || []) watchMs.add(Date.now() - Number(history.earliestUnixMs));
  });
  let closing = false;
  stream.on('error', () => !closing && streamErrors.add(1));
  stream.write({ headend: `k6-headends-${exec.scenario.iterationInTest}`, resumeToken: 'now' });
  stream.end();
  setTimeout(
    () => {
      closing = true;
      client.close();
    },
    (SECONDS - WATCH_AFTER_S) * 1_000,
  );
}
