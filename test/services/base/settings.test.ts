import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PeersFile } from '../../../services/agent/headend/peers-file.ts';
import { STRONGSWAN_SETTINGS } from '../../../services/agent/headend/strongswan/settings.ts';
import { readAgentSettings } from '../../../services/agent/settings.ts';
import { clientCredentials, plaintext, staysOnHost, tlsFilesOf } from '../../../services/api/grpc/credentials.ts';
import { createLogger } from '../../../services/base/log.ts';
import { helpText, readSettings } from '../../../services/base/settings.ts';
import { NODE_SETTINGS } from '../../../services/node/settings.ts';
import { SettingsError } from '../../../workers/base/errors.ts';

const read = (argv: string[], env: NodeJS.ProcessEnv = {}) => readSettings('test', NODE_SETTINGS, { argv, env });

test('flags win over the environment, and both over the default', () => {
  assert.equal(read([]).threads, 0);
  assert.equal(read([], { DPD_THREADS: '3' }).threads, 3);
  assert.equal(read(['--threads', '4'], { DPD_THREADS: '3' }).threads, 4);
  assert.equal(read(['--allow-plaintext']).allowPlaintext, true);
});

test('an error names the setting by the way it came, the value and the limit', () => {
  assert.throws(() => read(['--threads', 'x']), /--threads=x: must be a whole number from 0 to 256/);
  assert.throws(() => read([], { DPD_THREADS: '999' }), /DPD_THREADS=999/);
  assert.throws(() => read(['--nonsense']), SettingsError);
  assert.throws(() => readAgentSettings(['--shards', '3']), /shards=3: must be a power of two/);
  assert.throws(
    () => readAgentSettings(['--node-address', '10.0.0.1']).createHeadend(createLogger('test', 'silent')),
    /go together/,
  );
});

test('help lists every setting with its flag, environment and default', () => {
  assert.match(helpText('usage', NODE_SETTINGS), /--redis-url\s+REDIS_URL/);
  assert.match(
    helpText('usage', STRONGSWAN_SETTINGS),
    /--vici-socket\s+DPD_VICI_SOCKET\s.*\[\/var\/run\/charon\.vici\]/,
  );
});

test('plaintext stays on the host unless asked for by name', () => {
  for (const address of ['127.0.0.1:1', 'localhost:1', '[::1]:1', 'unix:/x']) assert(staysOnHost(address), address);
  for (const address of ['0.0.0.0:7600', '[::]:7600', '10.0.0.1:7600', 'hub.example:1', '127.0.0.1.example:1']) {
    assert.throws(() => tlsFilesOf(plaintext(address)), /plaintext would carry IKE keys/);
    assert.throws(() => clientCredentials(plaintext(address)), SettingsError);
    assert.equal(tlsFilesOf(plaintext(address, true)), undefined);
  }
  assert.throws(() => tlsFilesOf({ ...plaintext('127.0.0.1:1'), tlsCert: '/x' }), /all three or none/);
});

test('a peers file with a mistake names the entry', () => {
  const parse = (raw: object) => PeersFile.parse(raw, 'peers.json');
  assert.throws(() => parse({ policy: { retries: 0 } }), /policy\.retries=0: must be a whole number from 1 to 20/);
  assert.throws(() => parse({ peers: { a: { policy: { mode: 'NEVER' } } } }), /a\.policy\.mode=NEVER/);
  assert.throws(() => parse({ peers: { a: { endpoints: [{ address: 'x' }] } } }), /a\.endpoints\[0\]/);
  assert.equal(
    parse({ policy: { intervalMs: 5_000 }, peers: { a: { policy: { retries: 2 } } } }).get('a').policy.intervalMs,
    5_000,
  );
});

test("the cluster's own policy is JSON, refused with the member that is wrong", () => {
  const policy = (text: string) => read(['--default-policy', text]).defaultPolicy;
  assert.equal(policy(''), undefined);
  assert.equal(policy('{"preset": "strongswan", "jitterPercent": 5}')!.retryFactorPercent, 180);
  assert.throws(() => policy('strongswan'), /default-policy.*must be JSON/);
  assert.throws(() => policy('{"interval": 5}'), /default policy\.interval: is not known/);
  assert.throws(() => policy('{"retryFactorPercent": 1000, "retries": 9}'), /makes the last wait/);
});
