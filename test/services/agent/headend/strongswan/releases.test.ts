/** Compares each release's messages about its SAs with its list over vici, and with the keys in its own log. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { decodeHa, type HaMessage, HaType } from '../../../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { SaBook, type SaRecord, spiOf } from '../../../../../services/agent/headend/strongswan/sa-book.ts';
import { isFurther } from '../../../../../services/agent/headend/strongswan/sa-keys.ts';
import type { ListedSa } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';

type Keys = { readonly skD: string; readonly skAi?: string; readonly skAr?: string; readonly skEi: string };
type Listed = {
  readonly spi: string;
  readonly initiator: boolean;
  readonly connection: string;
  readonly remoteId: string;
  readonly local: string;
  readonly remote: string;
  readonly children: readonly [inbound: number, outbound: number][];
};
type Step = {
  readonly name: string;
  readonly datagrams: readonly string[];
  /** As logged, one for each time that charon derived an IKE SA's. */
  readonly keys: readonly Keys[];
  /** vici's list afterwards. */
  readonly sas: readonly Listed[];
};
type Release = {
  readonly release: string;
  readonly version: number;
  readonly runs: readonly { readonly proposal: string; readonly steps: readonly Step[] }[];
};

const FOLDER = new URL('releases/', import.meta.url);
const RELEASES = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8')) as Release);
/** The feed does not tell that an SA moves; vici does. */
const MOVES = 'the spoke moves';
/** 6.0.0 does not tell of rekeyings with further key exchanges, and of others only the last once more. */
const isUntold = (release: string, proposal: string) => release === '6.0.0' && proposal.includes('ke1');
const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex');

const HUB = { ipv6: true, wasInCare: () => false };

function newBook() {
  const unsupported: string[] = [];
  const book = new SaBook(
    {
      ready: () => {},
      changed: () => {},
      gone: () => {},
      unsupported: (_spi, _peer, why) => unsupported.push(why),
    },
    HUB,
  );
  return { book, unsupported };
}

/** An SA as vici lists it. */
function asListed({ spi, id, connection, peerId, local, remote, children }: SaRecord): Listed {
  return {
    spi,
    initiator: id.initiator,
    connection,
    remoteId: peerId,
    local: `${local!.address}:${local!.port}`,
    remote: `${remote!.address}:${remote!.port}`,
    children: [...children],
  };
}

/** As the agent has it from vici. */
function fromVici({ spi, initiator, connection, remoteId, local, remote, children }: Listed): ListedSa {
  const [spiI, spiR] = [Buffer.from(spi.slice(0, 16), 'hex'), Buffer.from(spi.slice(16), 'hex')];
  const host = (text: string) => ({ address: text.split(':')[0]!, port: Number(text.split(':')[1]) });
  const counters = { packetsIn: 0, packetsOut: 0, useIn: undefined, useOut: undefined };
  return {
    id: { version: 2, spiI, spiR, initiator },
    version: 2,
    spi,
    uniqueId: '1',
    connection,
    established: true,
    remoteId,
    local: host(local),
    remote: host(remote),
    busy: false,
    children: children.map(([inboundSpi, outboundSpi]) => ({ name: 'net', inboundSpi, outboundSpi, ...counters })),
  };
}

const bySpi = (sas: Iterable<Listed>) =>
  Array.from(sas, (sa) => ({ ...sa, children: sa.children.toSorted(([a], [b]) => a - b) })).toSorted((a, b) =>
    a.spi.localeCompare(b.spi),
  );

function assertKeys({ keys, derivation }: SaRecord, logged: Keys | undefined, name: string): void {
  assert(keys && derivation && logged, name);
  const { skD, skAi = '', skAr = '', ...skE } = logged;
  const { skEi, skEr } = keys;
  assert.deepEqual(
    { skD: hex(derivation.skD), skAi: hex(keys.skAi), skAr: hex(keys.skAr), skEi: hex(skEi), skEr: hex(skEr) },
    { skD, skAi, skAr, ...skE },
    name,
  );
}

test('each version byte is there', () => {
  assert.deepEqual([...new Set(RELEASES.map(({ version }) => version))].sort(), [3, 4, 5]);
});

for (const { release, version, runs } of RELEASES)
  describe(`charon ${release}`, () => {
    for (const { proposal, steps } of runs.filter(({ proposal }) => !isUntold(release, proposal)))
      test(proposal, () => {
        const { book, unsupported } = newBook();
        const logged = new Map<string, Keys>();
        for (const { name, datagrams, keys, sas } of steps) {
          const messages = datagrams.map((datagram) => decodeHa(Buffer.from(datagram, 'hex')));
          for (const message of messages) assert.equal(message.version, version, name);
          const added = messages.filter(({ type }) => type === HaType.IKE_ADD);
          if (name !== 'RESYNC')
            assert.equal(added.length, keys.length, `${name}: one IKE_ADD for all keys that charon derived`);
          added.forEach(({ ikeId }, n) => keys[n] && logged.set(spiOf(ikeId!), keys[n]));
          for (const message of messages) book.take(message);
          if (name === MOVES) for (const sa of sas) book.takeListed(fromVici(sa));
          assert.deepEqual(bySpi(Array.from(book.ready(), asListed)), bySpi(sas), name);
          for (const record of book.ready()) assertKeys(record, logged.get(record.spi), name);
          if (name === 'RESYNC') assertAnew(messages, sas, logged);
        }
        assert.deepEqual(unsupported, []);
      });
  });

test('charon 6.0.0 with further key exchanges: what it does not tell is left to vici, as if the feed had lost it', () => {
  const { runs } = RELEASES.find(({ release }) => release === '6.0.0')!;
  const [up, resync, rekeyed] = runs.find(({ proposal }) => isUntold('6.0.0', proposal))!.steps;
  const { book, unsupported } = newBook();
  for (const datagram of up!.datagrams) book.take(decodeHa(Buffer.from(datagram, 'hex')));
  assertKeys([...book.ready()][0]!, up!.keys[1], up!.name);
  for (const datagram of rekeyed!.datagrams) book.take(decodeHa(Buffer.from(datagram, 'hex')));
  assert.deepEqual([...book.ready()], []);
  assert.equal(book.get(rekeyed!.sas[0]!.spi), undefined);
  const { book: anew } = newBook();
  for (const datagram of resync!.datagrams) anew.take(decodeHa(Buffer.from(datagram, 'hex')));
  assert.equal(anew.get(resync!.sas[0]!.spi), undefined);
  assert.deepEqual(unsupported, []);
});

/** A new agent knows only what RESYNC brings. */
function assertAnew(messages: readonly HaMessage[], sas: readonly Listed[], logged: ReadonlyMap<string, Keys>): void {
  const { book } = newBook();
  for (const message of messages) book.take(message);
  const ready = [...book.ready()];
  assert.deepEqual(ready.map(({ spi }) => spi).sort(), sas.map(({ spi }) => spi).sort());
  for (const record of ready) assertKeys(record, logged.get(record.spi), 'an agent that begins');
}

describe('of an SA with further key exchanges', () => {
  const [messages, step] = RELEASES.filter(({ version }) => version > 3)
    .flatMap(({ runs }) => runs.flatMap(({ steps }) => steps))
    .map(
      (candidate) =>
        [candidate.datagrams.map((datagram) => decodeHa(Buffer.from(datagram, 'hex'))), candidate] as const,
    )
    .find(([all]) => all.some((message) => message.type === HaType.IKE_ADD && isFurther(message)))!;
  const isFirst = (message: HaMessage) => message.type === HaType.IKE_ADD && !isFurther(message);
  const isSecond = (message: HaMessage) => message.type === HaType.IKE_ADD && isFurther(message);

  test('one that the feed lost leaves it to vici, as if all were lost', () => {
    for (const isLost of [isFirst, isSecond]) {
      const { book, unsupported } = newBook();
      for (const message of messages) if (!isLost(message)) book.take(message);
      assert.equal(book.get(step.sas[0]!.spi), undefined);
      assert.deepEqual(unsupported, []);
    }
  });

  test('keys that charon tells anew, of an SA held from before, are told when they are whole', () => {
    const told: string[] = [];
    const book = new SaBook(
      {
        ready: () => {},
        changed: ({ keys }) => told.push(hex(keys?.skEi)),
        gone: () => assert.fail('gone'),
        unsupported: () => assert.fail('unsupported'),
      },
      HUB,
    );
    const [sa] = step.sas;
    book.takeHeld(fromVici(sa!), 5, true);
    // The node does not know its keys.
    book.get(sa!.spi)!.heldKeys = false;
    for (const message of messages) book.take(message);
    const [, whole] = step.keys;
    assert.deepEqual([...new Set(told)], [whole!.skEi]);
  });
});
