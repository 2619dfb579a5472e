/** WatchVerdicts: the verdict log of a headend, resumable by token. */

import { once } from 'node:events';
import { create } from '@bufbuild/protobuf';
import { type ServerWritableStream, status } from '@grpc/grpc-js';
import {
  type WatchVerdictsRequest,
  type WatchVerdictsResponse,
  WatchVerdictsResponseSchema,
} from '../../../../proto/gen/dpd/v1/verdicts_pb.js';
import { VerdictsTrimmedError } from '../../../../workers/base/errors.ts';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { WireWriter } from '../../../api/grpc/wire.ts';
import { checkHeadendName } from '../../../api/validation.ts';
import { connectRedis, type RedisClient } from '../../../store/redis/redis.ts';
import { checkNotTrimmed, LogPosition, readVerdicts } from '../../../store/shard/verdict-log.ts';
import { authorize } from '../../access/methods.ts';
import type { ApiContext, Caller } from '../context.ts';

/** Watches on one node at most: each holds a connection to Redis. */
const MAX_WATCHES = 256;
/** Of one caller: some are left for others. */
const CALLER_WATCHES = 64;
/** Longest wait for a watcher that does not read, ms. */
const DRAIN_MS = 30_000;

const RESUME_TOKEN = WatchVerdictsResponseSchema.field.resumeToken.number;

export type WatchCall = ServerWritableStream<WatchVerdictsRequest, WatchVerdictsResponse | Uint8Array>;

/** The watches of one node. */
export class VerdictWatches {
  readonly #context: ApiContext;
  #open = 0;
  /** Watches of each caller that has some. */
  readonly #byCaller = new Map<string, number>();

  constructor(context: ApiContext) {
    this.#context = context;
  }

  /** Sends verdicts until the caller hangs up. Rejects with ApiError. */
  async watch(caller: Caller, call: WatchCall): Promise<void> {
    rejectIfInvalid(checkHeadendName('headend', call.request.headend));
    authorize('watchVerdicts', caller, call.request.headend);
    if (this.#open >= MAX_WATCHES)
      throw new ApiError(status.RESOURCE_EXHAUSTED, `${MAX_WATCHES} watches on this node already`);
    const own = this.#byCaller.get(caller.name) ?? 0;
    // Callers on the host itself have one name together.
    if (own >= CALLER_WATCHES && !caller.local)
      throw new ApiError(status.RESOURCE_EXHAUSTED, `${caller.name} has ${CALLER_WATCHES} watches here already`);
    this.#count(caller, 1);
    try {
      const redis = await connectRedis(this.#context.redisUrl).catch((error: Error) => {
        throw new ApiError(status.UNAVAILABLE, `Redis: ${error.message}`);
      });
      try {
        await this.#send(redis, call);
      } finally {
        redis.disconnect();
      }
    } catch (error) {
      if (error instanceof VerdictsTrimmedError)
        throw new ApiError(status.OUT_OF_RANGE, `resume_token: ${error.message}`);
      if (call.cancelled) return;
      if (error instanceof ApiError) throw error;
      throw new ApiError(status.UNAVAILABLE, `watch broken off: ${(error as Error).name}`);
    } finally {
      this.#count(caller, -1);
    }
  }

  #count({ name }: Caller, change: 1 | -1): void {
    this.#open += change;
    const own = (this.#byCaller.get(name) ?? 0) + change;
    if (own === 0) this.#byCaller.delete(name);
    else this.#byCaller.set(name, own);
  }

  async #send(redis: RedisClient, call: WatchCall): Promise<void> {
    const { cluster, mac, stopping } = this.#context;
    const log = { redis, mac, refused: cluster.refused };
    const { headend, resumeToken } = call.request;
    const shards = (await cluster.headends()).get(headend);
    if (shards === undefined) throw new ApiError(status.NOT_FOUND, `headend "${headend}" has never registered`);
    const position = await startPosition(redis, headend, shards, resumeToken);
    const token = new WireWriter();
    call.write(create(WatchVerdictsResponseSchema, { resumeToken: String(position) }));
    while (!call.cancelled && !stopping.aborted) {
      for await (const verdicts of readVerdicts(log, headend, shards, position)) {
        // A Verdicts message, and the token that makes it a response.
        token.text(RESUME_TOKEN, String(position));
        if (!call.write(Buffer.concat([verdicts, token.finish()])))
          await once(call, 'drain', { signal: AbortSignal.timeout(DRAIN_MS) });
      }
    }
  }
}

/** Where a watch begins: at the oldest entry kept, at the newest, or behind a token. */
async function startPosition(
  redis: RedisClient,
  headend: string,
  shards: number,
  resumeToken: string,
): Promise<LogPosition> {
  if (resumeToken === '') return LogPosition.start(shards);
  if (resumeToken === 'now') return LogPosition.end(redis, headend, shards);
  const position = LogPosition.parse(resumeToken, shards);
  if (!position)
    rejectIfInvalid([
      { field: 'resume_token', description: `"${resumeToken.slice(0, 80)}" is not a token of this headend` },
    ]);
  await checkNotTrimmed(redis, headend, shards, position!);
  return position!;
}
