/** How a shard's probes leave, as Redis has it for an owner that has no headend to ask. */

import { isIP } from 'node:net';
import { Address } from '../../../workers/base/address.ts';
import { RecordError } from '../../../workers/base/errors.ts';
import { reachOf } from '../../../workers/base/reach.ts';
import { IKE_PORT, MAX_BARE_INDEX, MAX_MARKER_INDEX, NAT_T_PORT } from '../../../workers/ikev2/header.ts';
import { MAX_WAYS } from '../../../workers/liveness/interlock.ts';
import type { ShardPath, Way } from '../../../workers/path/ways.ts';
import { isObject, isWhole } from '../../base/shape.ts';
import { parseJson } from '../record.ts';

/** The path in a text, or what is wrong with it. @param key under which it lies */
export function readStoredPath(key: string, text: string): ShardPath | RecordError {
  const value = parseJson(text);
  const { guarded, ready, returning, ways } = isObject(value) ? value : {};
  const flags = [guarded, ready, returning].every((flag) => typeof flag === 'boolean');
  if (!flags || !Array.isArray(ways) || ways.length > MAX_WAYS || !ways.every(isWay))
    return new RecordError(key, 'path is none');
  return { guarded, ready, returning, ways } as ShardPath;
}

function isWay(value: unknown): value is Way {
  if (!isObject(value)) return false;
  const { local, ikePort, index, canaryAddress, canaryPort } = value;
  return (
    isAddress(local) &&
    (ikePort === IKE_PORT || ikePort === NAT_T_PORT) &&
    isWhole(index, 0, ikePort === IKE_PORT ? MAX_BARE_INDEX : MAX_MARKER_INDEX) &&
    isAddress(canaryAddress) &&
    (canaryAddress === '' || (reachOf(Address.of(canaryAddress)) !== 'nobody' && canaryPort !== 0)) &&
    isWhole(canaryPort, 0, 65_535)
  );
}

/** Whether it is an address, or '' for none. */
function isAddress(value: unknown): value is string {
  return value === '' || (typeof value === 'string' && isIP(value) > 0 && !value.includes('%'));
}
