/** A failover given up, as Redis keeps it until an operator settles it: JSON with its MAC before it, bound to its shard. */

import { isObject, isWhole } from '../../base/shape.ts';
import type { ShardId } from '../keys.ts';
import { parseJson } from '../record.ts';
import { type RecordMac, RecordSeal } from '../record-mac.ts';
import { readVerdict } from './stored-verdict.ts';

const MOST_ATTEMPTS = 2 ** 32 - 1;

/** A failover given up. */
export type DeadLetter = {
  readonly attempts: number;
  readonly reason: string;
  readonly givenUpUnix: number;
  /** The verdict in base64: see stored-verdict.ts. */
  readonly verdict: string;
};

/** Seals the letters of one shard for Redis, and opens them. */
export class LetterSeal extends RecordSeal {
  constructor(mac: RecordMac, { headend, shard }: ShardId) {
    super(mac, `letter ${headend}/${shard}`);
  }

  /** A letter as Redis gets it. */
  write(letter: DeadLetter): Buffer {
    return this.seal(Buffer.from(JSON.stringify(letter)));
  }

  /** The letter, with its verdict decoded as a check; undefined if no node wrote it for this shard. */
  read(sealed: Buffer): DeadLetter | undefined {
    const text = this.open(sealed);
    const value = text && parseJson(String(text));
    const { attempts, reason, givenUpUnix, verdict } = isObject(value) ? value : {};
    const isLetter =
      isWhole(attempts, 0, MOST_ATTEMPTS) &&
      typeof reason === 'string' &&
      isWhole(givenUpUnix, 0, Number.MAX_SAFE_INTEGER) &&
      typeof verdict === 'string';
    if (!isLetter) return undefined;
    try {
      readVerdict(Buffer.from(verdict, 'base64'));
      return { attempts, reason, givenUpUnix, verdict };
    } catch {
      return undefined;
    }
  }
}
