/** A node of its own with its private Redis, for benchmarks that need all of it. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import {
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  ConnectShardResponseSchema,
  HeadendService,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import { startEmbeddedRedis } from '../../services/store/embedded-redis.ts';
import { connectRedis, type RedisClient } from '../../services/store/redis.ts';
import { NodeProcess } from '../node-process.ts';

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** Runs `work` beside a fresh node, which is stopped afterwards. */
export async function withNode<T>(env: Record<string, string>, work: (node: NodeProcess) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-bench-'));
  let node: NodeProcess | undefined;
  try {
    node = await NodeProcess.start(`unix:${join(directory, 'node.sock')}`, {
      DPD_DATA_DIR: join(directory, 'data'),
      DPD_NODE_ID: 'bench',
      DPD_PROBE_ADDRESS: '127.0.0.1',
      DPD_PROBE_PORT_BASE: '0',
      LOG_LEVEL: 'warn',
      ...env,
    });
    return await work(node);
  } finally {
    await node?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs `work` beside a fresh Redis, which is stopped afterwards. */
export async function withRedis<T>(work: (redis: RedisClient, url: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-bench-'));
  const server = await startEmbeddedRedis(directory);
  const redis = await connectRedis(server.url);
  try {
    return await work(redis, server.url);
  } finally {
    redis.disconnect();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

type Request = Exclude<MessageInitShape<typeof ConnectShardRequestSchema>['message'], undefined>;

export function encodeRequest(message: Request): Uint8Array {
  return toBinary(ConnectShardRequestSchema, create(ConnectShardRequestSchema, { message }));
}

/** A headend's stream that sends messages encoded beforehand, so that the sender costs next to nothing. */
export class RawStream {
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Uint8Array, Buffer>;
  #hear: ((message: ConnectShardResponse['message']) => void) | undefined;
  #failed: Error | undefined;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.use_local_subchannel_pool': 1,
    });
    const { name, parent } = HeadendService.method.connectShard;
    this.#call = this.#client.makeBidiStreamRequest(
      `/${parent.typeName}/${name}`,
      (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      (bytes: Buffer) => bytes,
    );
    this.#call.on('data', (bytes: Buffer) => this.#hear?.(fromBinary(ConnectShardResponseSchema, bytes).message));
    this.#call.on('error', (error: Error) => {
      this.#failed = error;
    });
  }

  /** Called with every message of the node; while nobody is, they are not decoded. */
  onMessage(hear: ((message: ConnectShardResponse['message']) => void) | undefined): void {
    this.#hear = hear;
  }

  /** Sends a message that is encoded only now. */
  tell(message: Request): void {
    this.send(encodeRequest(message));
  }

  send(bytes: Uint8Array): void {
    if (this.#failed) throw this.#failed;
    this.#call.write(bytes);
  }

  close(): void {
    this.#call.end();
    this.#client.close();
  }
}
