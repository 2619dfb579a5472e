// The API under load: SAs registered, their policy changed, removed; peers, counters and members asked for meanwhile.
//   npm run k6 -- api

import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import grpc from 'k6/net/grpc';
import { connect, makeClient, makeSa, openShard } from './headend.js';

const DURATION = __ENV.DURATION || '30s';
const SAS = Number(__ENV.SAS || 200);
const QUERIES = Number(__ENV.QUERIES || 100);
const HOUR = { mode: 'MODE_ON_IDLE', intervalMs: 3_600_000, retryIntervalMs: 2_000, retries: 5 };
const HALF = { mode: 'MODE_PERIODIC', intervalMs: 1_800_000, retryIntervalMs: 2_000, retries: 5 };

const registerMs = new Trend('register_ms', true);
const policyMs = new Trend('policy_change_ms', true);
const removeMs = new Trend('remove_ms', true);
const registered = new Counter('sas_registered');
const streamErrors = new Counter('stream_errors');

export const options = {
  scenarios: {
    register: { executor: 'constant-vus', vus: Number(__ENV.HEADENDS || 8), duration: DURATION, exec: 'register' },
    query: {
      executor: 'constant-arrival-rate',
      rate: QUERIES,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: 50,
      exec: 'query',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    stream_errors: ['count==0'],
    register_ms: ['p(95)<500'],
    policy_change_ms: ['p(95)<500'],
    remove_ms: ['p(95)<500'],
    grpc_req_duration: ['p(95)<250'],
    dropped_iterations: ['count<10'],
  },
};

const client = makeClient();
let connected = false;

function once() {
  if (!connected) connect(client);
  connected = true;
}

/** A headend of its own: registers, changes the policy of all, removes all, goes. */
export function register() {
  once();
  const sas = (policy, revision) => Array.from({ length: SAS }, (_, n) => makeSa(n, policy, revision));
  const steps = [
    { trend: registerMs, message: (batchId) => ({ upsert: { batchId, sas: sas(HOUR, 1) } }) },
    { trend: policyMs, message: (batchId) => ({ upsert: { batchId, sas: sas(HALF, 2) } }) },
    { trend: removeMs, message: (batchId) => ({ remove: { batchId, sas: sas(HOUR, 1).map(({ id }) => id) } }) },
  ];
  let step = -1;
  let sentAt = 0;
  const next = () => {
    step++;
    if (step === steps.length) return stream.end();
    sentAt = Date.now();
    stream.write(steps[step].message(String(step + 1)));
  };
  const stream = openShard(client, `k6-api-${__VU}`, {
    ready: next,
    batchDone: ({ batchId, handles }) => {
      steps[step].trend.add(Date.now() - sentAt);
      check(batchId, { 'the batch is the one sent': (id) => id === String(step + 1) });
      if (step === 0) registered.add(handles.length);
      next();
    },
    failed: () => streamErrors.add(1),
  });
}

const QUESTIONS = [
  ['dpd.v1.OperatorService/ListPeers', () => ({ headend: `k6-api-${1 + (__ITER % 8)}`, pageSize: 50 })],
  [
    'dpd.v1.OperatorService/GetPeer',
    () => ({ headend: `k6-api-${1 + (__ITER % 8)}`, peerId: `spoke-${__ITER % SAS}` }),
  ],
  ['dpd.v1.OperatorService/GetCounters', () => ({})],
  ['dpd.v1.OperatorService/GetClusterState', () => ({})],
];

export function query() {
  once();
  const [method, request] = QUESTIONS[__ITER % QUESTIONS.length];
  const response = client.invoke(method, request());
  // A headend that is just between two rounds, or a peer just removed, may be missing.
  check(response, { 'answered, or not there': (r) => r.status === grpc.StatusOK || r.status === grpc.StatusNotFound });
}
