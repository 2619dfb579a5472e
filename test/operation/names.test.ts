import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { type ServiceError, status } from '@grpc/grpc-js';
import { NodeProcess } from '../../loadtest/node-process.ts';
import {
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  HeadendService,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import { eventually } from '../eventually.ts';

describe('two of the same name', { timeout: 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-names-'));
  const vaultKey = randomBytes(32).toString('base64');
  let redis: EmbeddedRedis;
  const running: NodeProcess[] = [];
  const clients: ApiClient[] = [];
  const start = async (id: string, socket = id): Promise<NodeProcess> => {
    const node = await NodeProcess.start(`unix:${join(directory, `${socket}.sock`)}`, {
      REDIS_URL: redis.url,
      DPD_VAULT_KEY: vaultKey,
      DPD_NODE_ID: id,
      DPD_THREADS: '1',
    });
    running.push(node);
    return node;
  };
  /** Opens a stream of a headend's process. Resolves with what came first: the epoch of a welcome, or an error. */
  const speak = async (node: NodeProcess, headend: string, instance: string, takeOver = false) => {
    const client = new ApiClient(plaintext(node.address));
    clients.push(client);
    const stream = client.duplex(HeadendService.method.connectShard);
    const ended = once(stream, 'error').then(([error]) => error as ServiceError);
    stream.write(
      create(ConnectShardRequestSchema, {
        message: { case: 'hello', value: { headend, shard: 0, shards: 1, instance, takeOver } },
      }),
    );
    const welcomed = once(stream, 'data').then(([response]) => {
      const { message } = response as ConnectShardResponse;
      return message.case === 'welcome' ? message.value.epoch : undefined;
    });
    welcomed.catch(() => {});
    const first = await Promise.race([welcomed, ended]);
    return { stream, ended, first };
  };

  before(async () => {
    redis = await EmbeddedRedis.start(join(directory, 'redis'));
    await Promise.all([start('node-1'), start('node-2')]);
  });
  after(async () => {
    for (const client of clients) client.close();
    await Promise.all(running.map((node) => node.stop('SIGKILL')));
    await redis?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('a second node of a name is refused while the first lives, with the address of that', async () => {
    await assert.rejects(start('node-1', 'twin'), (error: Error) => {
      assert(error instanceof SettingsError, error.message);
      assert.match(
        error.message,
        /^node-id node-1: a node of this name lives, at unix:.*node-1\.sock; each needs its own$/,
      );
      return true;
    });
  });

  test('a node that was killed may come back at once', async () => {
    const first = await start('node-3');
    await first.stop('SIGKILL');
    await start('node-3');
  });

  for (const [where, other] of [
    ['at the same node', 0],
    ['at another node', 1],
  ] as const)
    test(`a second hub of a name, ${where}, is refused while the first is connected, with both addresses`, async () => {
      const headend = `hub-${other}`;
      const first = await speak(running[0]!, headend, 'first');
      assert.equal(typeof first.first, 'bigint');
      const second = await speak(running[other]!, headend, 'second');
      const refused = await second.ended;
      assert.equal(refused.code, status.ALREADY_EXISTS);
      assert.match(refused.details, new RegExp(`headend "${headend}" is connected from .* already; this one is at .*`));
      // The first is as it was, and another stream of its own process replaces it.
      const again = await speak(running[other]!, headend, 'first');
      assert.equal(typeof again.first, 'bigint');
      again.stream.cancel();
      await again.ended;
    });

  test('when the first is gone the second is taken; on purpose it is taken at once', async () => {
    const first = await speak(running[0]!, 'hub-x', 'first');
    first.stream.cancel();
    await first.ended;
    let second = await speak(running[0]!, 'hub-x', 'second');
    // The node hears a little later that the first is gone.
    await eventually('the second is taken', 5_000, async () => {
      if (typeof second.first === 'bigint') return true;
      second = await speak(running[0]!, 'hub-x', 'second');
      return false;
    });
    const third = await speak(running[1]!, 'hub-x', 'third', true);
    assert.equal(typeof third.first, 'bigint');
    assert.equal((await second.ended).code, status.ABORTED);
    third.stream.cancel();
    await third.ended;
  });
});
