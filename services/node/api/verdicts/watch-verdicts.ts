/** Verdicts for data-plane nodes: a watch over the log of a headend, resumable by token, and acknowledgements. */

import { once } from 'node:events';
import { create } from '@bufbuild/protobuf';
import { type ServerWritableStream, status } from '@grpc/grpc-js';
import {
  type AcknowledgeVerdictRequest,
  type AcknowledgeVerdictResponse,
  AcknowledgeVerdictResponseSchema,
  type WatchVerdictsRequest,
  type WatchVerdictsResponse,
  WatchVerdictsResponseSchema,
} from '../../../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { WireWriter } from '../../../api/grpc/wire.ts';
import { checkAck, checkHeadendName, checkShard } from '../../../api/validation.ts';
import { connectRedis } from '../../../store/redis/redis.ts';
import { checkNotTrimmed, LogPosition, readVerdicts, VerdictsTrimmedError } from '../../../store/shard/verdict-log.ts';
import type { ConcentratorNode } from '../../node.ts';

/** Watches on one node at most: each holds a connection to Redis. */
const MAX_WATCHES = 256;
/** Longest wait for a watcher that does not read, ms. */
const DRAIN_MS = 30_000;
let watches = 0;

const RESUME_TOKEN = WatchVerdictsResponseSchema.field.resumeToken.number;

type WatchCall = ServerWritableStream<WatchVerdictsRequest, WatchVerdictsResponse | Uint8Array>;

/** Sends verdicts until the caller hangs up. */
export async function watchVerdicts(node: ConcentratorNode, call: WatchCall): Promise<void> {
  const { headend, resumeToken } = call.request;
  rejectIfInvalid(checkHeadendName('headend', headend));
  if (watches >= MAX_WATCHES)
    throw new ApiError(status.RESOURCE_EXHAUSTED, `${MAX_WATCHES} watches on this node already`);
  watches++;
  const redis = await connectRedis(node.redisUrl).catch((error: Error) => {
    watches--;
    throw new ApiError(status.UNAVAILABLE, `Redis: ${error.message}`);
  });
  try {
    const shards = (await node.concentrator.headends()).get(headend);
    if (shards === undefined) throw new ApiError(status.NOT_FOUND, `headend "${headend}" has never registered`);
    const position = await startPosition();
    const token = new WireWriter();
    call.write(create(WatchVerdictsResponseSchema, { resumeToken: String(position) }));
    while (!call.cancelled && !node.stopping.aborted) {
      for await (const verdicts of readVerdicts(redis, headend, shards, position)) {
        // A Verdicts message, and the token that makes it a response.
        token.text(RESUME_TOKEN, String(position));
        if (!call.write(Buffer.concat([verdicts, token.finish()])))
          await once(call, 'drain', { signal: AbortSignal.timeout(DRAIN_MS) });
      }
    }

    async function startPosition(): Promise<LogPosition> {
      if (resumeToken === '') return LogPosition.start(shards!);
      if (resumeToken === 'now') return LogPosition.end(redis, headend, shards!);
      const parsed = LogPosition.parse(resumeToken, shards!);
      if (!parsed)
        rejectIfInvalid([
          { field: 'resume_token', description: `"${resumeToken.slice(0, 80)}" is not a token of this headend` },
        ]);
      await checkNotTrimmed(redis, headend, shards!, parsed!);
      return parsed!;
    }
  } catch (error) {
    if (error instanceof VerdictsTrimmedError)
      throw new ApiError(status.OUT_OF_RANGE, `resume_token: ${error.message}`);
    if (call.cancelled) return;
    if (error instanceof ApiError) throw error;
    throw new ApiError(status.UNAVAILABLE, `watch broken off: ${(error as Error).name}`);
  } finally {
    watches--;
    redis.disconnect();
  }
}

/** Notes what a data-plane node made of a verdict. */
export async function acknowledgeVerdict(
  node: ConcentratorNode,
  request: AcknowledgeVerdictRequest,
): Promise<AcknowledgeVerdictResponse> {
  const { headend, shard, ack } = request;
  rejectIfInvalid([
    ...checkHeadendName('headend', headend),
    ...checkShard(shard),
    ...checkAck(ack).map(({ field, description }) => ({ field: `ack.${field}`, description })),
  ]);
  let known: boolean | undefined;
  try {
    [known] = await node.concentrator.acknowledge({ headend, shard }, [ack!]);
  } catch (error) {
    throw new ApiError(status.UNAVAILABLE, `not stored: ${(error as Error).name}`);
  }
  if (!known) throw new ApiError(status.NOT_FOUND, `verdict ${ack!.verdictId} is not awaiting an acknowledgement`);
  return create(AcknowledgeVerdictResponseSchema);
}
