import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { PeersFile } from '../../../../../services/agent/headend/peers-file.ts';
import { decodeHa, type HaMessage, HaType } from '../../../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { SaBook, type SaRecord, spiOf, toApiSa } from '../../../../../services/agent/headend/strongswan/sa-book.ts';
import type { ListedSa } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';
import { PARKED_ID } from '../../../../../workers/ikev2/header.ts';

const [FIXTURE] = JSON.parse(
  readFileSync(new URL('../../../../fixtures/ike-messages.json', import.meta.url), 'utf8'),
) as {
  ikeAdd: string;
}[];
const ADD = decodeHa(Buffer.from(FIXTURE!.ikeAdd, 'hex'));
const ID = ADD.ikeId!;
const update = (change: Partial<HaMessage> = {}): HaMessage => ({
  version: 3,
  type: HaType.IKE_UPDATE,
  ikeId: ID,
  remoteId: 'spoke1',
  configName: 'site1',
  localAddress: { address: '192.0.2.1', port: 4500 },
  remoteAddress: { address: '192.0.2.10', port: 30_123 },
  ...change,
});

const LISTED: ListedSa = {
  id: ID,
  version: 2,
  spi: spiOf(ID),
  uniqueId: '1',
  connection: 'site1',
  established: true,
  remoteId: 'spoke1',
  local: { address: '192.0.2.1', port: 4500 },
  remote: { address: '192.0.2.10', port: 4500 },
  busy: false,
  children: [],
};

function rig({ ipv6 = true, wasInCare = false } = {}) {
  const ready: SaRecord[] = [];
  const gone: SaRecord[] = [];
  const unsupported: string[] = [];
  const changed: SaRecord[] = [];
  const book = new SaBook(
    {
      ready: (record) => ready.push(record),
      changed: (record) => changed.push(record),
      gone: (record) => gone.push(record),
      unsupported: (_spi, _peer, why) => unsupported.push(why),
    },
    { ipv6, wasInCare: () => wasInCare },
  );
  return { book, ready, gone, changed, unsupported };
}

const peers = PeersFile.parse(
  {
    peers: {
      spoke1: {
        endpoints: [
          { address: '192.0.2.10', connection: 'site1', child: 'net' },
          { address: '198.51.100.10', connection: 'site1-b', child: 'net' },
        ],
      },
    },
  },
  'test',
);

describe('an SA of the feed', () => {
  test('is ready when keys and addresses are known, with the next id that charon tells', () => {
    const { book, ready } = rig();
    book.take(ADD);
    assert.equal(ready.length, 0);
    book.take(update());
    book.take({ version: 3, type: HaType.CHILD_ADD, ikeId: ID, inboundSpi: 0xc1 });
    book.take({ version: 3, type: HaType.IKE_MID_INITIATOR, ikeId: ID, mid: 2 });
    const sa = toApiSa(ready[0]!, peers.get('spoke1'), 7);
    assert.equal(sa.peerId, 'spoke1');
    assert.equal(sa.nextMessageId, 2);
    assert.equal(sa.headendIsInitiator, false);
    assert.deepEqual(sa.childSpis, [0xc1]);
    assert.deepEqual(
      sa.endpoints.map(({ address, port }) => `${address}:${port}`),
      ['192.0.2.10:30123', '198.51.100.10:0'],
    );
    assert.equal(sa.activeEndpoint, 0);
    assert.equal(sa.site, '192.0.2.1');
    assert.equal(toApiSa(ready[0]!, { ...peers.get('spoke1'), site: 'west' }, 7).site, 'west');
    assert.equal(sa.parked, false);
  });

  for (const wasInCare of [true, false])
    test(`with a parked id does not take it for its next one, and is parked if it ${wasInCare ? 'was' : 'was not'} in care`, () => {
      const { book, ready, changed } = rig({ wasInCare });
      book.take(ADD);
      book.take(update());
      book.take({ version: 3, type: HaType.IKE_MID_INITIATOR, ikeId: ID, mid: PARKED_ID + 1 });
      assert.equal(ready[0]!.nextMid, 0);
      assert.deepEqual([ready[0]!.parked, changed.length], [wasInCare, wasInCare ? 1 : 0]);
    });

  test('whose update was lost is completed by what vici lists', () => {
    const { book, ready } = rig();
    book.take(ADD);
    book.takeListed(LISTED);
    assert.equal(ready[0]?.peerId, 'spoke1');
  });

  test('that the cluster holds already goes on with the id that the node names, without keys', () => {
    const { book, ready } = rig();
    book.takeHeld(LISTED, 9, true);
    const { nextMessageId, parked, keys } = toApiSa(ready[0]!, peers.get('spoke1'), 1);
    assert.deepEqual([nextMessageId, parked, keys], [9, true, undefined]);
  });

  test('a rekeyed one takes over name, addresses and children, and starts its ids at 0', () => {
    const { book, ready, gone } = rig();
    book.take(ADD);
    book.take(update());
    book.take({ version: 3, type: HaType.CHILD_ADD, ikeId: ID, inboundSpi: 0xc1 });
    const id = { ...ID, spiI: Buffer.alloc(8, 9), initiator: true };
    book.take({ ...ADD, ikeId: id, rekeyId: ID, oldSkD: Buffer.alloc(20), oldPrf: 2 });
    book.take({ version: 3, type: HaType.IKE_DELETE, ikeId: ID });
    book.take(update({ ikeId: id }));
    assert.equal(gone.length, 1);
    assert.deepEqual([ready[1]!.nextMid, [...ready[1]!.children.keys()]], [0, [0xc1]]);
  });

  test('that the rules cannot carry is told, not watched', () => {
    for (const [change, why] of [
      [{ localAddress: { address: '192.0.2.1', port: 500 } }, /ports 500 and 30123/],
      [{ localAddress: { address: '2001:db8::1', port: 4500 } }, /IPv6/],
    ] as const) {
      const { book, ready, unsupported } = rig({ ipv6: false });
      book.take(ADD);
      book.take(update(change));
      assert.equal(ready.length, 0);
      assert.match(unsupported[0]!, why);
    }
    const { book, unsupported } = rig();
    book.take({ ...ADD, encryption: 3 });
    assert.match(unsupported[0]!, /encryption 3/);
  });
});

test('an SA with a PRF that is not spoken is left out, be it its own or that of the SA before', () => {
  const { book, ready, unsupported } = rig();
  book.take({ ...ADD, prf: 999 });
  book.take({ ...ADD, ikeId: { ...ID, spiR: Buffer.alloc(8, 7) }, oldSkD: Buffer.alloc(32), oldPrf: 999 });
  book.take(update());
  assert.equal(ready.length, 0);
  assert.deepEqual(unsupported, ['PRF 999 is not supported', 'PRF 999 is not supported']);
});
