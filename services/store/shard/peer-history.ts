/** What happened to peers lately, in Redis: the latest events of each, and only so many peers of a shard. */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type GetPeerHistoryResponse,
  GetPeerHistoryResponseSchema,
  type PeerEvent,
} from '../../../proto/gen/dpd/v1/operator_pb.js';
import { RecordError } from '../../../workers/base/errors.ts';
import { type ShardId, shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import type { RedisClient } from '../redis/redis.ts';

/** Events kept of one peer, and peers kept of one shard: those with the latest events. */
export const HISTORY = { events: 32, peers: 10_000 } as const;

/** An event of a peer. */
export type NotedEvent = { readonly peerId: string; readonly event: PeerEvent };

/** Events as note-events.lua reads them: peer and a GetPeerHistoryResponse of one, in turns. */
export function packEvents(events: readonly NotedEvent[]): (string | Buffer)[] {
  return events.flatMap(({ peerId, event }) => [
    peerId,
    Buffer.from(toBinary(GetPeerHistoryResponseSchema, create(GetPeerHistoryResponseSchema, { events: [event] }))),
  ]);
}

/** What is kept of a peer, of all shards of its headend, the oldest first. Rejects with the error of the connection. */
export async function readPeerHistory(
  redis: RedisClient,
  headend: string,
  shards: number,
  peerId: string,
  refused: OnRefused,
): Promise<PeerEvent[]> {
  const ids: ShardId[] = Array.from({ length: shards }, (_, shard) => ({ headend, shard }));
  const kept = await Promise.all(ids.map((id) => redis.hgetBuffer(shardKeys(id).history, peerId)));
  return kept
    .flatMap((bytes, shard) => (bytes ? readEvents(bytes, shardKeys({ headend, shard }).history, refused).events : []))
    .sort((a, b) => Number(a.atUnixMs - b.atUnixMs));
}

function readEvents(bytes: Buffer, key: string, refused: OnRefused): GetPeerHistoryResponse {
  try {
    return fromBinary(GetPeerHistoryResponseSchema, bytes);
  } catch {
    refused(new RecordError(key, 'a history that cannot be read'));
    return create(GetPeerHistoryResponseSchema);
  }
}
