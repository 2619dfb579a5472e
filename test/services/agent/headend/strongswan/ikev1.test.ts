import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PeersFile } from '../../../../../services/agent/headend/peers-file.ts';
import { decodeHa, type HaMessage, HaType } from '../../../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { derivePhase1, ikev1Keys } from '../../../../../services/agent/headend/strongswan/ikev1-keys.ts';
import { SaBook, type SaRecord, toApiSa } from '../../../../../services/agent/headend/strongswan/sa-book.ts';
import { checkSa } from '../../../../../services/api/validation.ts';
import { Content, found, isInformationalV1, openInformational } from '../../../../../workers/ikev1/informational.ts';

/** Made by test/fixtures/capture-ikev1.ts: R-U-THERE and acknowledgement between two stock strongSwan, and the hub's feed. */
const EXCHANGES = JSON.parse(
  readFileSync(new URL('../../../../fixtures/ikev1-messages.json', import.meta.url), 'utf8'),
) as { proposal: string; feed: string[]; question: string; answer: string }[];

const feedOf = ({ feed }: (typeof EXCHANGES)[number]) => feed.map((hex) => decodeHa(Buffer.from(hex, 'hex')));

for (const exchange of EXCHANGES)
  test(`${exchange.proposal}: charon's own R-U-THERE and acknowledgement open with the keys of the feed`, () => {
    const [add, , iv] = feedOf(exchange);
    const phase1 = derivePhase1(add!);
    assert(typeof phase1 !== 'string', String(phase1));
    const keys = ikev1Keys(phase1, iv!.iv!)!;
    const read = (hex: string) => {
      const datagram = Buffer.from(hex, 'hex');
      assert(isInformationalV1(datagram));
      const content = openInformational(phase1.suite, keys, datagram);
      return { content, sequence: found.sequence };
    };
    const question = read(exchange.question);
    assert.equal(question.content, Content.R_U_THERE);
    assert.deepEqual(read(exchange.answer), { content: Content.ACK, sequence: question.sequence });
  });

test('what is not supported, or not complete, is named', () => {
  const [add] = feedOf(EXCHANGES[0]!);
  const { psk: _, ...unsigned } = add!;
  assert.equal(derivePhase1(unsigned), 'incomplete key material');
  assert.match(String(derivePhase1({ ...add!, integrity: 5 })), /integrity 5 is not supported/);
  assert.match(String(derivePhase1({ ...add!, encryption: 23 })), /encryption 23 of 128 bits/);
  assert.match(String(derivePhase1({ ...add!, prf: 2 })), /is not supported/, 'the hash of IVs is another');
});

describe('an SA of IKEv1 in the book', () => {
  const [ADD, UPDATE, IV] = feedOf(EXCHANGES[4]!) as [HaMessage, HaMessage, HaMessage];
  const PHASE1_MS = 1_300;

  function rig() {
    const seen = { ready: [] as SaRecord[], gone: [] as SaRecord[], unsupported: [] as string[] };
    const book = new SaBook(
      {
        ready: (record) => seen.ready.push(record),
        changed: () => {},
        gone: (record) => seen.gone.push(record),
        unsupported: (_spi, _peer, why) => seen.unsupported.push(why),
      },
      { ipv6: true, wasInCare: () => false },
    );
    return { book, ...seen };
  }

  test('is ready when phase 1 has been over for a second, with the last of its blocks; and the API takes it', async () => {
    const { book, ready } = rig();
    const early = { ...IV, iv: Buffer.alloc(16, 1) };
    for (const message of [ADD, early, UPDATE]) book.take(message);
    await sleep(700);
    book.take(IV);
    await sleep(700);
    assert.equal(ready.length, 0, 'phase 1 may go on');
    await sleep(PHASE1_MS - 700);
    assert.equal(ready.length, 1);
    const sa = toApiSa(ready[0]!, PeersFile.parse({}, 'test').get('spoke1'), 1);
    assert.equal(sa.ikeVersion, 1);
    assert.equal(sa.dpdSupport, 1);
    assert.deepEqual(Buffer.from(sa.keys!.phase1Block), IV.iv);
    assert(sa.nextMessageId > 0);
    assert.deepEqual(checkSa(sa, { shard: 0, shards: 1, loopback: true }), []);
  });

  test('without DPD announced it is left out, and never registered', async () => {
    const { book, ready, unsupported } = rig();
    for (const message of [ADD, { ...UPDATE, extensions: UPDATE.extensions! & ~(1 << 8) }, IV]) book.take(message);
    await sleep(PHASE1_MS);
    assert.deepEqual(ready, []);
    assert.deepEqual(unsupported, ['it has not announced DPD (RFC 3706)']);
  });

  test('if charon asks it itself, it is watched no more', async () => {
    const { book, ready, gone, unsupported } = rig();
    for (const message of [ADD, UPDATE, IV]) book.take(message);
    await sleep(PHASE1_MS);
    assert.equal(ready.length, 1);
    book.take({ version: 3, type: HaType.IKE_MID_INITIATOR, ikeId: ADD.ikeId!, mid: 5 });
    assert.deepEqual(gone, ready);
    assert.match(unsupported[0]!, /dpd_delay must be 0/);
  });

  test('sequence numbers start higher as time goes by', async () => {
    const { book, ready } = rig();
    for (const message of [ADD, UPDATE, IV]) book.take(message);
    await sleep(PHASE1_MS);
    const first = () => toApiSa(ready[0]!, PeersFile.parse({}, 'test').get('spoke1'), 1).nextMessageId;
    const before = first();
    await sleep(450);
    assert(first() >= before + 2, `${before}, then ${first()}`);
  });
});
