import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  IKE_PORT,
  MARKER_LENGTH,
  MAX_BARE_INDEX,
  MAX_MARKER_INDEX,
  NAT_T_PORT,
  Offset,
  orderToDaemon,
  orderToSpoke,
  PAYLOAD_SK,
  PAYLOAD_SKF,
  VERSION_2,
} from '../../../workers/ikev2/header.ts';
import { Guise } from '../../../workers/path/guise.ts';

/** The words that begin with a message's next payload. */
const WORDS = [PAYLOAD_SK, PAYLOAD_SKF].flatMap((payload) =>
  [36, 37, 44].flatMap((exchange) => [0x00, 0x08, 0x20, 0x28].map((flags) => [payload, VERSION_2, exchange, flags])),
);
const MESSAGE = fc
  .tuple(fc.constantFrom(...WORDS), fc.uint8Array({ minLength: 12, maxLength: 80 }))
  .map(([word, rest]) => Buffer.concat([Buffer.alloc(MARKER_LENGTH), Buffer.alloc(16, 0xa5), Buffer.from(word), rest]));
const PORTS = { [NAT_T_PORT]: MAX_MARKER_INDEX, [IKE_PORT]: MAX_BARE_INDEX };

/** As UDP adds it up (RFC 1071). */
function sum(bytes: Buffer): number {
  const even = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.of(0)]);
  let total = 0;
  for (let at = 0; at < even.length; at += 2) total += even.readUInt16BE(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total % 0xffff;
}

for (const [port, maxIndex] of Object.entries(PORTS)) {
  const put = (message: Buffer, order?: number) =>
    Buffer.from(new Guise().put(Buffer.from(message), Number(port), order));

  test(`property: on port ${port} a message with an order has the UDP checksum of the true one`, () => {
    const order = fc.nat(maxIndex).chain((index) => fc.constantFrom(orderToSpoke(index), orderToDaemon(index)));
    fc.assert(fc.property(MESSAGE, order, (message, of) => sum(put(message, of)) === sum(put(message))));
  });

  test(`on port ${port} rules can tell every order, and the message, by one word`, () => {
    const at = Number(port) === IKE_PORT ? Offset.NEXT_PAYLOAD - MARKER_LENGTH : Offset.MARKER;
    const indices = [0, 1, 2, 31, MAX_BARE_INDEX];
    const orders = indices.flatMap((index) => [orderToSpoke(index), orderToDaemon(index)]);
    const words = WORDS.map((word) => Buffer.concat([Buffer.alloc(20, 0), Buffer.from(word), Buffer.alloc(12)]));
    const seen = new Set(words.flatMap((message) => orders.map((order) => put(message, order).readUInt32BE(at))));
    assert.equal(seen.size, Number(port) === IKE_PORT ? orders.length * WORDS.length : orders.length);
    for (const message of words) assert(!seen.has(put(message).readUInt32BE(at)), 'a true message looks like an order');
  });

  test(`property: on port ${port} what leaves without an order arrives as it was`, () => {
    fc.assert(
      fc.property(MESSAGE, (message) => {
        assert.deepEqual(new Guise().take(put(message), Number(port)), message);
      }),
    );
  });
}

test('a spoke behind a NAT may have port 500, and its messages their marker', () => {
  const message = Buffer.concat([Buffer.alloc(MARKER_LENGTH), Buffer.alloc(40, 1)]);
  assert.equal(new Guise().take(message, IKE_PORT), message);
});

test('datagrams of every length take no more room than one; one too long for a message stays as it is', () => {
  const guise = new Guise();
  const before = process.memoryUsage().arrayBuffers;
  for (let length = 0; length < 66_000; length++) {
    const datagram = ONES.subarray(0, length);
    const taken = guise.take(datagram, IKE_PORT);
    assert(taken === datagram || taken.length === length + MARKER_LENGTH);
    if (length > 2_044) assert.equal(taken, datagram);
  }
  for (let length = 24; length < 2_000; length++) guise.put(Buffer.alloc(length), IKE_PORT, undefined);
  const grown = process.memoryUsage().arrayBuffers - before;
  assert(grown < 100 * 1024 * 1024, `${grown} bytes`);
});
const ONES = Buffer.alloc(66_000, 1);
