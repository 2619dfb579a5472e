import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { identityOf, pageOf, saOf } from '../../../loadtest/spokes/fleet.ts';
import { Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex } from '../../../services/api/spi.ts';
import { Address } from '../../../workers/base/address.ts';
import { falseMarker, NAT_T_PORT, orderToDaemon, orderToSpoke, PARKED_ID } from '../../../workers/ikev2/header.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import type { KeyVault } from '../../../workers/keys/key-keeper.ts';
import { isCanary } from '../../../workers/path/canary.ts';
import type { FromShard } from '../../../workers/shard/protocol.ts';
import { Shard } from '../../../workers/shard/shard.ts';
import { verdictCount } from '../../../workers/shard/verdict-rows.ts';
import { type FormerOwners, ROW_LENGTH } from '../../../workers/takeover/checkpoint.ts';
import { CREATE_CHILD_SA, INFORMATIONAL, type Message, opened, sealed } from './wire.ts';

const POLICY = create(PolicySchema, { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3 });
const HUB = { address: Address.of('192.0.2.1'), port: 4500 };
const SPOKE = { address: Address.of('192.0.2.10'), port: 4500 };
const OPEN: KeyVault = { open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) };
const PATH = {
  guarded: true,
  ready: true,
  returning: true,
  ways: [{ local: '', ikePort: NAT_T_PORT, index: 0, canaryAddress: String(SPOKE.address), canaryPort: SPOKE.port }],
} as const;

/** What the shard sends, by the marker that tells the hub's rules what to do with it. */
type Where = 'spoke' | 'daemon';

/** A shard that watches one SA of a spoke that expects `expected`, in front of a daemon. Redis notes at once, unless told not to. */
class Rig {
  now = 0;
  /** Of the spoke: the id that it expects, and its answer to the last. */
  expected = 0;
  lastAnswer: Buffer[] = [];
  silent = false;
  /** What it answers to a request, by text; as it came if nothing is said. */
  readonly answersTo = new Map<string, readonly string[]>();
  /** Texts of requests that the spoke carried out, with their ids. */
  readonly done: [id: number, text: string][] = [];
  /** What the daemon got. */
  readonly daemon: Message[] = [];
  readonly posted: FromShard[] = [];
  notes = true;
  /** Lost on the way to the daemon. */
  lose = false;
  readonly identity;
  readonly #fleet;
  readonly shard: Shard;

  constructor(suite: number, former?: Partial<FormerOwners> & { row?: Buffer }) {
    this.#fleet = {
      count: 1,
      shards: 1,
      seed: 'front-test',
      suite,
      sockets: [SPOKE, SPOKE].map(({ port }) => ({ address: '192.0.2.10', port })),
    };
    this.identity = identityOf(this.#fleet.seed, 0, 0, suite);
    this.shard = new Shard({
      now: () => this.now,
      wall: () => this.now,
      fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
      post: (message) => this.#post(message),
      vault: OPEN,
      shard: 0,
      send: (message) => {
        this.#out.push(Buffer.from(message));
        return true;
      },
    });
    this.shard.handle({ type: 'path', path: { ...PATH, ways: [{ ...PATH.ways[0], local: '' }] } });
    this.shard.handle({
      type: 'takeOver',
      former: {
        headend: 'hub',
        chunks: [{ epoch: 1, bytes: former?.row ?? this.row(0, 0) }],
        translated: former?.translated ?? new Map(),
        atUnix: 0,
        ageMs: 0,
      },
    });
    this.shard.handle({ type: 'resume', request: 1, page: pageOf(this.#fleet, 1, POLICY) });
    this.shard.handle({ type: 'takeOver', former: undefined });
  }
  readonly #out: Buffer[] = [];

  get spi(): string {
    return spiHex(saOf(this.#fleet, 0, 0, POLICY).id!);
  }

  /** What a checkpoint tells of the SA, which has answered before. */
  row(nextMid: number, uncertainty: number): Buffer {
    const row = Buffer.alloc(ROW_LENGTH);
    row.write(
      spiHex(
        saOf(
          {
            count: 1,
            shards: 1,
            seed: 'front-test',
            sockets: [
              { address: '192.0.2.10', port: 4500 },
              { address: '192.0.2.10', port: 4500 },
            ],
          },
          0,
          0,
          POLICY,
        ).id!,
      ),
      'hex',
    );
    row.writeUInt32BE(nextMid, 16);
    row.writeUInt8(4, 28);
    row.writeUInt16BE(uncertainty, 29);
    return row;
  }

  run(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now += 5;
      this.shard.tick();
      this.deliver();
    }
  }

  /** The daemon writes a request, in as many pieces as there are texts. */
  request(id: number, exchange: number, ...texts: string[]): void {
    this.pieces({ exchange, response: false, initiator: false, id }, texts).forEach((datagram) =>
      this.shard.receive(datagram, HUB),
    );
    this.deliver();
  }

  pieces(message: Omit<Message, 'text' | 'fragment'>, texts: readonly string[]): Buffer[] {
    const total = texts.length;
    return texts.map((text, n) =>
      sealed(this.identity, { ...message, text, fragment: total > 1 ? { number: n + 1, total } : undefined }),
    );
  }

  /**
   * The hub's rules: canaries turn around, requests leave as the hub's own, messages for the daemon are handed to it.
   */
  deliver(): void {
    for (let datagram = this.#out.shift(); datagram; datagram = this.#out.shift()) {
      const marker = datagram.readUInt32BE(0);
      const where: Where = marker === falseMarker(orderToSpoke(0)) ? 'spoke' : 'daemon';
      assert(where === 'spoke' || marker === falseMarker(orderToDaemon(0)));
      datagram.writeUInt32BE(0, 0);
      if (isCanary(datagram)) this.shard.receive(datagram, where === 'spoke' ? this.#hub : SPOKE);
      else if (where === 'daemon') {
        if (!this.lose) this.daemon.push(opened(this.identity, datagram)!);
      } else this.#atSpoke(datagram);
    }
  }
  /** A way without a local address fits any SA. */
  readonly #hub = { address: { toString: () => '' } as Address, port: 4500 };

  #parts: Message[] = [];
  #atSpoke(datagram: Buffer): void {
    if (this.silent) return;
    const request = opened(this.identity, datagram);
    assert(request && !request.response && !request.initiator);
    if (request.id + 1 === this.expected) {
      for (const answer of this.lastAnswer) this.shard.receive(Buffer.from(answer), SPOKE);
      return;
    }
    if (request.id !== this.expected) return;
    this.#parts = [
      ...this.#parts.filter(({ id, fragment }) => id === request.id && fragment?.number !== request.fragment?.number),
      request,
    ];
    if (this.#parts.length < (request.fragment?.total ?? 1)) return;
    const text = this.#parts.map((part) => part.text).join('');
    this.#parts = [];
    this.expected++;
    this.done.push([request.id, text]);
    const texts = this.answersTo.get(text) ?? [text === '' ? '' : `re: ${text}`];
    this.lastAnswer = this.pieces({ ...request, response: true, initiator: true }, texts);
    for (const answer of this.lastAnswer) this.shard.receive(Buffer.from(answer), SPOKE);
  }

  #post(message: FromShard): void {
    this.posted.push(message);
    if (message.type === 'translating' && this.notes)
      this.shard.handle({ type: 'noted', handle: message.handle, daemonId: message.daemonId });
  }

  get verdicts(): number {
    return this.posted.reduce(
      (sum, message) => sum + (message.type === 'verdicts' ? verdictCount(message.rows) : 0),
      0,
    );
  }
}

const FIRST = PARKED_ID + 65_536;
const GCM = SUITES.findIndex(({ cipher }) => cipher === 'aes-256-gcm');

describe('requests of the headend’s daemon', () => {
  for (const [suite, { cipher, hash }] of SUITES.entries())
    test(`get the SA’s next id, their answers the daemon’s, in one piece or in fragments: ${cipher} ${hash}`, () => {
      const rig = new Rig(suite);
      rig.answersTo.set('rekey a child', ['a part', ' and a second']);
      rig.run(11_000);
      assert.deepEqual(rig.done, [[0, '']]);
      rig.request(FIRST, CREATE_CHILD_SA, 'rekey', ' a child');
      rig.request(FIRST + 1, INFORMATIONAL, 'delete the old one');
      assert.deepEqual(rig.done.slice(1), [
        [1, 'rekey a child'],
        [2, 'delete the old one'],
      ]);
      assert.deepEqual(
        rig.daemon.map(({ id, text, response, exchange, fragment }) => [
          id,
          text,
          response,
          exchange,
          fragment?.number,
        ]),
        [
          [FIRST, 'a part', true, CREATE_CHILD_SA, 1],
          [FIRST, ' and a second', true, CREATE_CHILD_SA, 2],
          [FIRST + 1, 're: delete the old one', true, INFORMATIONAL, undefined],
        ],
      );
      // Probes go on behind them.
      rig.run(30_000);
      assert.deepEqual(
        rig.done.map(([id]) => id),
        Array.from({ length: rig.done.length }, (_, n) => n),
      );
      assert(rig.done.length >= 5);
      assert.equal(rig.verdicts, 0);
    });

  test('wait for the answer to a probe, and are the probe while they are under way', () => {
    const rig = new Rig(GCM);
    rig.run(9_990);
    rig.silent = true;
    rig.run(600);
    // A probe is out, and stays unanswered.
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.silent = false;
    rig.run(1_000);
    assert.deepEqual(rig.done, [
      [0, ''],
      [1, 'rekey'],
    ]);
    rig.silent = true;
    rig.request(FIRST + 1, INFORMATIONAL, 'delete');
    rig.run(10_000);
    assert.equal(rig.done.length, 2);
    rig.silent = false;
    rig.run(1_000);
    assert.deepEqual(rig.done.slice(2), [[2, 'delete']]);
    assert.deepEqual(
      rig.daemon.map(({ id }) => id),
      [FIRST, FIRST + 1],
    );
  });

  test('that are repeated are the same bytes to the spoke, and their answers repeated to the daemon', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    rig.lose = true;
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    assert.deepEqual(rig.daemon, []);
    rig.lose = false;
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    assert.deepEqual(rig.done.slice(1), [[1, 'rekey']]);
    assert.deepEqual(
      rig.daemon.map(({ id, text }) => [id, text]),
      [[FIRST, 're: rekey']],
    );
  });

  test('of a dead peer do not hide that it is dead: before the verdict it is asked as any', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    rig.silent = true;
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(20_000);
    assert.equal(rig.verdicts, 1);
  });

  test('that a spoke carries out in the end, their id being another after all, are no reason for a verdict', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    // An unknown owner has asked.
    rig.expected = 2;
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(20_000);
    assert.equal(rig.verdicts, 0);
    assert.deepEqual(
      rig.done.map(([, text]) => text).filter((text) => text !== ''),
      ['rekey'],
    );
    assert.deepEqual(
      rig.daemon.map(({ id }) => id),
      [FIRST],
    );
  });

  test('are forged by nobody: a request sealed with the spoke’s keys, or with none, goes nowhere', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    const message = { exchange: INFORMATIONAL, response: false, id: FIRST };
    rig.shard.receive(rig.pieces({ ...message, initiator: true }, ['delete'])[0]!, HUB);
    const spoiled = rig.pieces({ ...message, initiator: false }, ['delete'])[0]!;
    spoiled[spoiled.length - 1]! ^= 1;
    rig.shard.receive(spoiled, HUB);
    rig.deliver();
    assert.deepEqual(rig.done, [[0, '']]);
    assert.equal(rig.shard.counters().repliesForged, 2);
  });

  test('are not sent before Redis knows their id, nor wait for it for long', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    rig.notes = false;
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(200);
    assert.equal(rig.done.length, 1);
    rig.run(200);
    assert.deepEqual(rig.done.slice(1), [[1, 'rekey']]);
  });

  test('go nowhere without a canary home, and are sent when one comes', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    rig.shard.handle({ type: 'path', path: { ...PATH, ready: false } });
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(1_000);
    assert.equal(rig.done.length, 1);
    rig.shard.handle({ type: 'path', path: PATH });
    rig.run(1_000);
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(1_000);
    assert.deepEqual(
      rig.done.map(([, text]) => text).filter((text) => text !== ''),
      ['rekey'],
    );
    assert.equal(rig.daemon.length, 1);
  });

  test('get no answer to a probe that had their id while it was in doubt, though that came late', () => {
    const rig = new Rig(GCM);
    rig.run(11_000);
    rig.silent = true;
    rig.request(FIRST, INFORMATIONAL, 'moved');
    rig.run(3_500);
    // By now it is probed as usual; then another owner may have asked.
    rig.shard.handle({ type: 'headend', present: true });
    rig.run(1_000);
    for (const answer of rig.pieces({ exchange: INFORMATIONAL, response: true, initiator: true, id: 1 }, ['']))
      rig.shard.receive(answer, SPOKE);
    rig.deliver();
    assert.deepEqual(rig.daemon, []);
  });
});

describe('a shard taken over while a request of the daemon’s is under way', () => {
  const takenOver = (expected: number, carriedOut: boolean) => {
    const before = new Rig(GCM);
    const translated = new Map([[before.spi, { daemonId: FIRST, id: 5 }]]);
    const rig = new Rig(GCM, { row: before.row(5, 0), translated });
    rig.expected = expected;
    if (carriedOut)
      rig.lastAnswer = rig.pieces({ exchange: CREATE_CHILD_SA, response: true, initiator: true, id: 5 }, ['re: rekey']);
    rig.run(100);
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(4_000);
    rig.request(FIRST, CREATE_CHILD_SA, 'rekey');
    rig.run(20_000);
    assert.equal(rig.verdicts, 0);
    return rig;
  };

  test('that the spoke has carried out: the daemon gets its answer, and it is not carried out twice', () => {
    const rig = takenOver(6, true);
    assert(rig.done.every(([, text]) => text === ''));
    assert.deepEqual([...new Set(rig.daemon.map(({ id, text }) => `${id} ${text}`))], [`${FIRST} re: rekey`]);
  });

  test('that the spoke never got: it is carried out once', () => {
    const rig = takenOver(5, false);
    assert.deepEqual(
      rig.done.filter(([, text]) => text !== '').map(([, text]) => text),
      ['rekey'],
    );
    assert.deepEqual([...new Set(rig.daemon.map(({ id, text }) => `${id} ${text}`))], [`${FIRST} re: rekey`]);
  });

  test('whose daemon has had its answer: probing goes on as if nothing had been', () => {
    const before = new Rig(GCM);
    const translated = new Map([[before.spi, { daemonId: FIRST, id: 4 }]]);
    const rig = new Rig(GCM, { row: before.row(5, 0), translated });
    rig.expected = 5;
    rig.run(60_000);
    assert(rig.done.length >= 5);
    assert.equal(rig.verdicts, 0);
    assert.equal(rig.shard.counters().requestsTranslated, 0);
    rig.request(FIRST + 1, CREATE_CHILD_SA, 'rekey');
    assert.equal(rig.done.at(-1)![1], 'rekey');
  });

  for (const exchange of [CREATE_CHILD_SA, INFORMATIONAL])
    test(`whose id a probe had, after all: the daemon never gets the answer to that, and its request the next id: ${exchange}`, () => {
      const before = new Rig(GCM);
      const translated = new Map([[before.spi, { daemonId: FIRST, id: 5 }]]);
      const rig = new Rig(GCM, { row: before.row(5, 0), translated });
      rig.expected = 6;
      rig.lastAnswer = rig.pieces({ exchange: INFORMATIONAL, response: true, initiator: true, id: 5 }, ['']);
      rig.run(100);
      rig.request(FIRST, exchange, 'rekey');
      rig.run(10_000);
      rig.request(FIRST, exchange, 'rekey');
      rig.run(1_000);
      assert.deepEqual(
        [...new Set(rig.daemon.map((answer) => `${answer.exchange} ${answer.text}`))],
        [`${exchange} re: rekey`],
      );
      assert.deepEqual(
        rig.done.filter(([, text]) => text !== ''),
        [[6, 'rekey']],
      );
      assert.equal(rig.verdicts, 0);
    });
});
