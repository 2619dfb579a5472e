/** Which nodes live: each says so every second, and learns of the others in the same step. */

import { RecordError } from '../../../workers/base/errors.ts';
import { isObject, isText, isWhole } from '../../base/shape.ts';
import { isName, NODES } from '../keys.ts';
import { type OnRefused, parseJson } from '../record.ts';
import type { RecordMac } from '../record-mac.ts';
import type { RedisClient } from '../redis/redis.ts';
import { runScript } from '../redis/scripts.ts';

/** How long a beat counts, ms. */
export const BEAT_TTL_MS = 3_500;
/** A silent node is forgotten after this, ms. */
const FORGET_MS = 600_000;
/** Maximum number of nodes of one cluster: a thousand would hear of each other every second. */
const MOST_MEMBERS = 1_000;
const MOST_ADDRESS = 256;
const MOST_COUNT = 2 ** 32 - 1;

/** A node as others know it. */
export type Member = {
  readonly id: string;
  /** Where agents reach it: host:port or unix:/path. */
  readonly address: string;
  /** It gives its shards away and takes none. */
  readonly draining: boolean;
  readonly shards: number;
  readonly peers: number;
};

/** What a beat takes. */
export type BeatContext = { readonly redis: RedisClient; readonly mac: RecordMac; readonly refused: OnRefused };

/** Notes that this node lives. Returns the live nodes by id, including this one; reports records that no node wrote. */
export async function beat({ redis, mac, refused }: BeatContext, { id, ...description }: Member): Promise<Member[]> {
  const sealed = mac.sealText(placeOf(id), JSON.stringify(description));
  const reply = await runScript(redis, 'beat', [NODES], [id, sealed, BEAT_TTL_MS, FORGET_MS]);
  return readMembers(reply as string[], mac, refused);
}

/** Says that this node is gone. */
export async function leave(redis: RedisClient, id: string): Promise<void> {
  await runScript(redis, 'beat', [NODES], [id, '', 0, FORGET_MS]);
}

/** @param flat id and description with its MAC of each, in turns */
export function readMembers(flat: readonly string[], mac: RecordMac, refused: OnRefused): Member[] {
  const members: Member[] = [];
  for (let n = 0; n < flat.length; n += 2) {
    const member = readMember(flat[n]!, mac.openText(placeOf(flat[n]!), flat[n + 1]!));
    if (member instanceof RecordError) refused(member);
    else members.push(member);
  }
  if (members.length > MOST_MEMBERS)
    refused(new RecordError(NODES, `${members.length} nodes, at most ${MOST_MEMBERS}`));
  return members.sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, MOST_MEMBERS);
}

function placeOf(id: string): string {
  return `member ${id}`;
}

/** @param description undefined: no node wrote it */
function readMember(id: string, description: string | undefined): Member | RecordError {
  const value = description === undefined ? undefined : parseJson(description);
  const { address, draining, shards, peers } = isObject(value) ? value : {};
  const isMember =
    isName(id) &&
    isText(address, MOST_ADDRESS) &&
    typeof draining === 'boolean' &&
    isWhole(shards, 0, MOST_COUNT) &&
    isWhole(peers, 0, MOST_COUNT);
  return isMember
    ? { id, address, draining, shards, peers }
    : new RecordError(NODES, `${JSON.stringify(id.slice(0, 80))} is no node, or no node wrote it`);
}
