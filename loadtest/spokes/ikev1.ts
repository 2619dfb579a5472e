/** Spokes of IKEv1: their keys from the fleet's seed, and their answer to an R-U-THERE (RFC 3706). */

import { createHash } from 'node:crypto';
import { pooledRandom } from '../../workers/crypto/random.ts';
import {
  Content,
  dpdLength,
  found,
  isInformationalV1,
  Notify,
  openInformational,
  sealDpd,
} from '../../workers/ikev1/informational.ts';
import { FIRST_IKEV1_SUITE, IKEV1_SUITES, type Ikev1Keys, type Ikev1Suite } from '../../workers/ikev1/suites.ts';
import { MARKER_LENGTH, Offset } from '../../workers/ikev2/header.ts';
import type { SessionTable } from '../../workers/ikev2/sessions.ts';
import type { SendBuffers } from '../../workers/net/send-buffers.ts';

const fillRandom = pooledRandom();
const RANDOM = Buffer.alloc(4);
/** Longest keys of a suite, bytes. */
const LONGEST = 32 + 64 + 16;

/** The suite with this number, if it is one of IKEv1. */
export function ikev1SuiteOf(number: number | undefined): Ikev1Suite | undefined {
  return number === undefined ? undefined : IKEV1_SUITES[number - FIRST_IKEV1_SUITE];
}

/** Number of the suite with this cipher and hash, as OpenSSL names them. Throws RangeError. */
export function ikev1SuiteNamed(cipher: string, hash: string): number {
  const suite = IKEV1_SUITES.find((known) => known.cipher === cipher && known.hash === hash);
  if (!suite) throw new RangeError(`IKEv1 has no suite of ${cipher} and ${hash}`);
  return suite.index;
}

/** Keys of a spoke's life, always the same for one seed. */
export function ikev1KeysOf(seed: string, spoke: number, life: number, suite: Ikev1Suite): Ikev1Keys {
  const { keyLength, hashLength, blockLength } = suite;
  const stream = createHash('shake256', { outputLength: LONGEST }).update(`${seed}/${spoke}/${life}/ikev1`).digest();
  return {
    encryptionKey: stream.subarray(0, keyLength),
    skeyidA: stream.subarray(keyLength, keyLength + hashLength),
    phase1Block: stream.subarray(keyLength + hashLength, keyLength + hashLength + blockLength),
  };
}

/**
 * Writes the acknowledgement, or returns undefined where a spoke stays silent. It takes no number twice, and none below one that it has
 * taken: `nextMid` is the lowest that it takes.
 */
export function acknowledge(
  sessions: SessionTable,
  handle: number,
  request: Buffer,
  buffers: SendBuffers,
): Buffer | undefined {
  const [suite, keys] = [sessions.ikev1Suite(handle), sessions.ikev1Keys(handle)];
  if (openInformational(suite, keys, request) !== Content.R_U_THERE) return undefined;
  const { sequence } = found;
  if (sequence < sessions.nextMid[handle]!) return undefined;
  sessions.nextMid[handle] = sequence + 1;
  fillRandom(RANDOM, 0, RANDOM.length);
  const answer = buffers.next(dpdLength(suite));
  request.copy(answer, MARKER_LENGTH, Offset.SPI_I, Offset.NEXT_PAYLOAD);
  sealDpd(suite, keys, Notify.R_U_THERE_ACK, sequence, RANDOM.readUInt32BE() || 1, answer);
  return answer;
}

/** Handle of the SA that a question names, or -1. */
export function findQuestion(sessions: SessionTable, request: Buffer): number {
  return isInformationalV1(request) ? sessions.named(request) : -1;
}
