/** The context of every handler of the API: the parts of its node that it may use, and the caller. */

import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { RecordMac } from '../../store/record-mac.ts';
import type { RedisClient } from '../../store/redis/redis.ts';
import type { Access } from '../access/access.ts';
import type { Audit } from '../access/audit.ts';
import type { Who } from '../access/methods.ts';
import type { ClusterNode } from '../cluster/cluster-node.ts';

/** What handlers may use of their node. */
export type ApiContext = {
  readonly cluster: ClusterNode;
  readonly access: Access;
  readonly audit: Audit;
  readonly redis: RedisClient;
  readonly mac: RecordMac;
  /** For connections of their own. */
  readonly redisUrl: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Longest wait for headends to take their shards elsewhere, ms. */
  readonly drainMs: number;
  /** Aborted when the node is about to stop. */
  readonly stopping: AbortSignal;
};

/** Who calls. */
export type Caller = Who & {
  /** Address, as gRPC gives it. */
  readonly address: string;
};

/** A handler of one request with one response. Rejects with ApiError. */
export type UnaryHandler<Request, Response> = (
  context: ApiContext,
  caller: Caller,
  request: Request,
) => Promise<Response>;
