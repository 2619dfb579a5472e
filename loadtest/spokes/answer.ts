/** A spoke's answer to a liveness check: authenticates it, answers the next id, repeats its answer to the last. */

import { copy } from '../../workers/base/bytes.ts';
import { FLAG_INITIATOR, FLAG_RESPONSE, isInformational, MARKER_LENGTH, Offset } from '../../workers/ikev2/header.ts';
import type { SessionTable } from '../../workers/ikev2/sessions.ts';
import { open, seal, sealedLength } from '../../workers/ikev2/sk-payload.ts';
import type { SendBuffers } from '../../workers/net/send-buffers.ts';

/** Handle of the SA that a request names, or -1 if it is no liveness check of an SA held here. */
export function findRequest(sessions: SessionTable, request: Buffer): number {
  if (!isInformational(request, false)) return -1;
  return sessions.named(request);
}

/** Writes the answer, or returns undefined where a spoke stays silent. `nextMid` is the spoke's expectation. */
export function answerRequest(
  sessions: SessionTable,
  handle: number,
  request: Buffer,
  buffers: SendBuffers,
): Buffer | undefined {
  const mid = request.readUInt32BE(Offset.MESSAGE_ID);
  const expected = sessions.nextMid[handle]!;
  if (mid !== expected && mid + 1 !== expected) return undefined;
  const suite = sessions.suite(handle);
  if (!open(suite, sessions.sendKeys(handle), request)) return undefined;
  sessions.nextMid[handle] = mid + 1;
  const response = buffers.next(sealedLength(suite));
  copy(request, 0, response, 0, Offset.BODY);
  response[Offset.FLAGS] = FLAG_RESPONSE | FLAG_INITIATOR;
  response.writeUInt32BE(response.length - MARKER_LENGTH, Offset.LENGTH);
  response.writeUInt16BE(response.length - Offset.SK, Offset.SK_LENGTH);
  // The IV is a function of the message, so that a repeated answer is bit for bit the same.
  response.fill(0x5a, Offset.BODY, Offset.BODY + suite.ivLength);
  response.writeUInt32BE(mid, Offset.BODY + 4);
  seal(suite, sessions.receiveKeys(handle), response);
  return response;
}
