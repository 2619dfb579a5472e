import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { InventorySchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { type Sa, SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { type Batch, Registration } from '../../../services/agent/registration.ts';
import { spiHex } from '../../../services/api/spi.ts';

const sa = (n: number, revision: number): Sa =>
  create(SaSchema, { id: { initiatorSpi: BigInt(n + 1), responderSpi: BigInt(n + 1) }, revision });

/** A node that holds SAs by SPI and says so. */
class Node {
  readonly held = new Map<string, { handle: number; sa: Sa }>();
  #handle = 0;

  apply(batch: Batch): number[] {
    if (batch.kind === 'remove') {
      for (const id of batch.ids) this.held.delete(spiHex(id));
      return [];
    }
    return batch.sas.map((item) => {
      const handle = this.held.get(spiHex(item.id!))?.handle ?? this.#handle++;
      this.held.set(spiHex(item.id!), { handle, sa: item });
      return handle;
    });
  }

  inventory() {
    const rows = [...this.held.values()];
    return create(InventorySchema, {
      initiatorSpis: rows.map((row) => row.sa.id!.initiatorSpi),
      responderSpis: rows.map((row) => row.sa.id!.responderSpi),
      handles: rows.map((row) => row.handle),
      revisions: rows.map((row) => row.sa.revision),
      nextMessageIds: rows.map(() => 0),
      complete: true,
    });
  }
}

test('property: whatever is lost on the way, both sides end with the same SAs', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('upsert' as const), n: fc.nat(40) }),
    fc.record({ kind: fc.constant('remove' as const), n: fc.nat(40) }),
    // A batch that arrives; one that arrives but whose answer is lost; one that is lost itself; one that is refused later,
    // stored or not.
    fc.record({
      kind: fc.constantFrom('send' as const, 'mute' as const, 'lose' as const, 'refuse' as const, 'doubt' as const),
      n: fc.constant(0),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const registration = new Registration();
      const node = new Node();
      registration.complete();
      registration.addInventory(node.inventory());
      let revision = 0;
      let refused: Batch[] = [];
      const tellRefused = () => {
        for (const batch of refused) registration.refused(batch);
        refused = [];
      };
      for (const { kind, n } of steps) {
        if (kind === 'upsert') registration.upsert(sa(n, ++revision));
        else if (kind === 'remove') registration.remove(sa(n, 0).id!);
        else {
          const batch = registration.next();
          if (!batch) continue;
          if (kind === 'refuse' || kind === 'doubt') {
            if (kind === 'doubt') node.apply(batch);
            refused.push(batch);
            continue;
          }
          const handles = kind === 'lose' ? [] : node.apply(batch);
          // Answers come in order.
          tellRefused();
          if (kind === 'send') registration.done(batch, handles);
          else {
            registration.reset();
            registration.addInventory(node.inventory());
          }
        }
      }
      tellRefused();
      for (let batch = registration.next(); batch; batch = registration.next())
        registration.done(batch, node.apply(batch));
      assert.deepEqual(
        new Map([...node.held].map(([spi, row]) => [spi, row.sa.revision])),
        new Map(Array.from(registration.wanted(), (wanted) => [spiHex(wanted.id!), wanted.revision])),
      );
      for (const [spi, { handle }] of node.held) assert.equal(registration.handleOf(spi), handle);
    }),
  );
});

test('until everything wanted has been told, nothing that the node holds is removed', () => {
  const node = new Node();
  node.apply({ kind: 'upsert', sas: [sa(1, 1), sa(2, 1)] });
  const registration = new Registration();
  registration.addInventory(node.inventory());
  assert.equal(registration.next(), undefined);
  registration.upsert(sa(1, 1));
  registration.complete();
  const batch = registration.next();
  assert(batch?.kind === 'remove');
  assert.deepEqual(batch.ids.map(spiHex), [spiHex(sa(2, 1).id!)]);
});

test('what the node has lost is registered again: a wrong message id is looked for', () => {
  const keyed = { ...sa(1, 1), keys: create(SaKeysSchema) };
  const registration = new Registration();
  const node = new Node();
  registration.addInventory(node.inventory());
  registration.upsert(keyed);
  for (let batch = registration.next(); batch; batch = registration.next()) registration.done(batch, node.apply(batch));
  registration.reset();
  assert.deepEqual(registration.addInventory(new Node().inventory()), []);
  const batch = registration.next();
  assert(batch?.kind === 'upsert');
  assert.deepEqual(batch.sas, [keyed]);
});

describe('an SA told without keys, as the node has them', () => {
  const bare = sa(1, 2);
  const spi = spiHex(bare.id!);

  test('is sent as it is where the node has them', () => {
    const registration = new Registration();
    const node = new Node();
    node.apply({ kind: 'upsert', sas: [sa(1, 1)] });
    assert.deepEqual(registration.addInventory(node.inventory()), []);
    assert.equal(registration.upsert(bare, true), true);
    assert.deepEqual(registration.next(), { kind: 'upsert', sas: [bare] });
  });

  for (const [order, told] of [
    ['before', 1],
    ['after', 2],
  ] as const)
    test(`is not sent where the node has none, told ${order} the inventory, until it comes with keys`, () => {
      const registration = new Registration();
      const empty = () => registration.addInventory(new Node().inventory());
      if (told === 1) {
        assert.equal(registration.upsert(bare, true), true);
        assert.deepEqual(empty(), [spi]);
      } else {
        assert.deepEqual(empty(), []);
        assert.equal(registration.upsert(bare, true), false);
      }
      assert.equal(registration.next(), undefined);
      const keyed = { ...sa(1, 3), keys: create(SaKeysSchema) };
      assert.equal(registration.upsert(keyed), true);
      assert.deepEqual(registration.next(), { kind: 'upsert', sas: [keyed] });
    });
});

test('what is on its way may change, and is sent again in its new revision', () => {
  const registration = new Registration();
  const node = new Node();
  registration.complete();
  registration.addInventory(node.inventory());
  registration.upsert(sa(1, 1));
  const first = registration.next()!;
  registration.upsert(sa(1, 2));
  registration.done(first, node.apply(first));
  assert.deepEqual(registration.next(), { kind: 'upsert', sas: [sa(1, 2)] });
  registration.remove(sa(1, 2).id!);
  assert.equal(registration.next()?.kind, 'remove');
});

test('a new stream begins with nothing: what the former node was sent is compared with what this one holds', () => {
  const registration = new Registration();
  registration.complete();
  const former = new Node();
  former.apply({ kind: 'upsert', sas: [sa(1, 1)] });
  registration.upsert(sa(1, 1));
  registration.addInventory(former.inventory());
  assert.equal(registration.handleOf(spiHex(sa(1, 1).id!)), 0);
  registration.upsert(sa(2, 1));
  registration.next();
  registration.reset();
  assert.equal(registration.next(), undefined, 'sent before the node has said what it holds');
  assert.equal(registration.handleOf(spiHex(sa(1, 1).id!)), undefined);
  const node = new Node();
  node.apply({ kind: 'upsert', sas: [sa(2, 1), sa(3, 1)] });
  registration.addInventory(node.inventory());
  const [removal, upsert] = [registration.next(), registration.next()];
  assert(removal?.kind === 'remove' && upsert?.kind === 'upsert');
  assert.deepEqual(removal.ids.map(spiHex), [spiHex(sa(3, 1).id!)]);
  assert.deepEqual(upsert.sas, [sa(1, 1)]);
});
