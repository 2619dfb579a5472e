import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChannelCredentials, Client } from '@grpc/grpc-js';
import { Rig } from './rig.ts';

const raw = (bytes: Buffer) => bytes;

test('server reflection names the services, and health says SERVING', async (t) => {
  const rig = await Rig.start({ spokes: 1 });
  const client = new Client(rig.address, ChannelCredentials.createInsecure());
  t.after(async () => {
    client.close();
    await rig.stop();
  });
  // HealthCheckRequest of the whole server; HealthCheckResponse with status SERVING (1).
  const health = await new Promise<Buffer | undefined>((resolve, reject) =>
    client.makeUnaryRequest('/grpc.health.v1.Health/Check', raw, raw, Buffer.alloc(0), (error, response) =>
      error ? reject(error) : resolve(response),
    ),
  );
  assert.equal(health?.toString('hex'), '0801');
  // ServerReflectionRequest with an empty list_services (field 7).
  const stream = client.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', raw, raw);
  const listed = new Promise<string>((resolve, reject) => {
    stream.on('data', (bytes: Buffer) => resolve(bytes.toString('latin1')));
    stream.on('error', reject);
  });
  stream.write(Buffer.from([0x3a, 0x00]));
  const names = await listed;
  stream.cancel();
  for (const service of ['HeadendService', 'VerdictService', 'OperatorService'])
    assert(names.includes(`dpd.v1.${service}`), names);
});
