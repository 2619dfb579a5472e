import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ServerInterceptingCall } from '@grpc/grpc-js';
import { readAgentSettings } from '../../../../services/agent/settings.ts';
import { startServer } from '../../../../services/api/grpc/server.ts';
import { readSettings } from '../../../../services/base/settings.ts';
import { NODE_SETTINGS } from '../../../../services/node/settings.ts';

test('a unix socket is its owner’s alone, and so is a folder that is made for it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-server-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const socket = join(directory, 'sub', 'api.sock');
  const pass = (_: unknown, call: ConstructorParameters<typeof ServerInterceptingCall>[0]) =>
    new ServerInterceptingCall(call);
  const server = await startServer(
    `unix:${socket}`,
    undefined,
    pass,
    () => {},
    () => {},
  );
  t.after(() => server.stop());
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  assert.equal(statSync(join(directory, 'sub')).mode & 0o777, 0o700);
});

test('a folder that cannot be made is named with its setting', async () => {
  const none = () => {};
  const pass = () => assert.fail('nobody calls');
  const begun = startServer(`unix:${import.meta.filename}/sub/api.sock`, undefined, pass, none, none);
  await assert.rejects(begun, /^SettingsError: address unix:.*ENOTDIR/);
});

test('node and agent meet at one unix socket, unless told otherwise', () => {
  const { address } = readSettings('', { address: NODE_SETTINGS.address }, { argv: [], env: {} });
  assert.match(address, /^unix:\/.*\/data\/api\.sock$/);
  assert.deepEqual(readAgentSettings([], {}).agent.addresses, [address]);
});
