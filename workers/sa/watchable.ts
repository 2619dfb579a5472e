/**
 * Which SAs a shard can work with. The API checks them on arrival. Data in Redis may be of an older release, or damaged, so it is
 * checked here again: an SA that is out of bounds is left out, and harms no other.
 */

import { reachOf } from '../base/reach.ts';
import { IKE_PORT, MAX_FIRST_ID, NAT_T_PORT } from '../ikev2/header.ts';
import { policyFaults } from '../liveness/policy-limits.ts';
import type { WatchedSa } from './sa-message.ts';

const MAX_PORT = 65_535;

/** Throws RangeError that names the value that a shard cannot work with. */
export function checkWatchable({ policy, nextMessageId, address, port, ikePort }: WatchedSa): void {
  if (nextMessageId > MAX_FIRST_ID) throw new RangeError(`next message id ${nextMessageId}, at most ${MAX_FIRST_ID}`);
  if (port > MAX_PORT) throw new RangeError(`port ${port}`);
  if (ikePort !== NAT_T_PORT && ikePort !== IKE_PORT) throw new RangeError(`local port ${ikePort}`);
  if (reachOf(address) === 'nobody') throw new RangeError(`${address} is nobody's address`);
  const [fault] = policyFaults(policy);
  if (fault) throw new RangeError(`${fault.member}: ${fault.why}`);
}
