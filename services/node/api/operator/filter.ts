/** Requests that may name one headend, or mean all. */

import type { Violation } from '../../../api/grpc/errors.ts';
import { checkHeadendName } from '../../../api/validation.ts';
import type { HostedShard } from '../../shard/hosted-shard.ts';
import type { ApiContext } from '../context.ts';

/** Shards here of one headend; of all if `headend` is empty. */
export function shardsOf({ cluster }: ApiContext, headend: string): HostedShard[] {
  return headend === '' ? cluster.shards.hosted() : cluster.shards.of(headend);
}

export function checkHeadendFilter(headend: string): Violation[] {
  return headend === '' ? [] : checkHeadendName('headend', headend);
}
