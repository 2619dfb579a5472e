import assert from 'node:assert/strict';
import { test } from 'node:test';
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
      registration.takeInventory(node.inventory());
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
            registration.takeInventory(node.inventory());
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
  registration.takeInventory(node.inventory());
  assert.equal(registration.next(), undefined);
  registration.upsert(sa(1, 1));
  registration.complete();
  const batch = registration.next();
  assert(batch?.kind === 'remove');
  assert.deepEqual(batch.ids.map(spiHex), [spiHex(sa(2, 1).id!)]);
});

test('what the cluster held and has lost is not registered again: nobody knows its message ids', () => {
  const keyed = { ...sa(1, 1), keys: create(SaKeysSchema) };
  const bare = sa(2, 1);
  const registration = new Registration();
  const node = new Node();
  registration.takeInventory(node.inventory());
  registration.upsert(keyed);
  registration.upsert(bare);
  for (let batch = registration.next(); batch; batch = registration.next()) registration.done(batch, node.apply(batch));
  registration.reset();
  node.held.clear();
  assert.deepEqual(registration.takeInventory(node.inventory()), [spiHex(keyed.id!)]);
  const batch = registration.next();
  assert(batch?.kind === 'upsert');
  assert.deepEqual(
    batch.sas.map(({ id }) => spiHex(id!)),
    [spiHex(bare.id!)],
  );
});

test('nor is what it held before the headend knew what it wants, whichever is told first', () => {
  const keyed = { ...sa(1, 1), keys: create(SaKeysSchema) };
  const spi = spiHex(keyed.id!);
  const wantedAfter = (tell: (registration: Registration, empty: () => string[]) => readonly string[] | boolean) => {
    const registration = new Registration();
    const node = new Node();
    node.apply({ kind: 'upsert', sas: [keyed] });
    registration.takeInventory(node.inventory());
    registration.reset();
    const told = tell(registration, () => registration.takeInventory(new Node().inventory()));
    assert.equal(registration.next(), undefined, 'registered with a message id long used');
    // Until it is rekeyed it may change all it likes.
    assert.equal(registration.upsert({ ...keyed, revision: 2 }), true);
    registration.complete();
    assert.equal(registration.next(), undefined);
    return told;
  };
  const first = wantedAfter((registration, empty) => {
    assert.equal(registration.upsert(keyed), true);
    return empty();
  });
  assert.deepEqual(first, [spi]);
  const last = wantedAfter((registration, empty) => {
    assert.deepEqual(empty(), []);
    return registration.upsert(keyed);
  });
  assert.equal(last, false);
});

test('nor is what was sent and never answered for, once Redis may have lost it: it may have been held and asked', () => {
  const keyed = { ...sa(1, 1), keys: create(SaKeysSchema) };
  const spi = spiHex(keyed.id!);
  const sentTo = (history: string) => {
    const registration = new Registration();
    registration.complete();
    registration.welcomed(history);
    registration.takeInventory(new Node().inventory());
    registration.upsert(keyed);
    return { registration, batch: registration.next()! };
  };
  const welcomed = (registration: Registration, history: string) => {
    registration.reset();
    registration.welcomed(history);
    return () => registration.takeInventory(new Node().inventory());
  };
  for (const [before, after, lost] of [
    ['a', 'b', [spi]],
    ['', '', [spi]],
    ['a', '', [spi]],
    ['a', 'a', []],
  ] as const) {
    const { registration } = sentTo(before);
    assert.deepEqual(welcomed(registration, after)(), lost, `${before} ${after}`);
    assert.equal(registration.next() === undefined, lost.length > 0);
  }
  const refused = sentTo('a');
  refused.registration.refused(refused.batch);
  assert.deepEqual(welcomed(refused.registration, 'b')(), [spi], 'a node refuses what Redis may have after all');
  const replaced = sentTo('a');
  replaced.registration.remove(keyed.id!);
  assert.deepEqual(welcomed(replaced.registration, 'b')(), []);
  // A node that breaks off before its inventory has not said whether it holds it either.
  const again = sentTo('a');
  welcomed(again.registration, 'a');
  assert.deepEqual(welcomed(again.registration, 'b')(), [spi]);
});

test('what is on its way may change, and what was answered for or never left is registered as ever', () => {
  const keyed = { ...sa(1, 1), keys: create(SaKeysSchema) };
  const registration = new Registration();
  const node = new Node();
  registration.complete();
  registration.welcomed('a');
  registration.takeInventory(node.inventory());
  registration.upsert(keyed);
  const first = registration.next()!;
  assert.equal(registration.upsert({ ...keyed, revision: 2 }), true, 'lost before it was answered for');
  registration.done(first, node.apply(first));
  const second = registration.next()!;
  registration.done(second, node.apply(second));
  registration.upsert({ ...sa(2, 3), keys: create(SaKeysSchema) });
  registration.reset();
  registration.welcomed('b');
  assert.deepEqual(registration.takeInventory(node.inventory()), []);
  const batch = registration.next();
  assert(batch?.kind === 'upsert');
  assert.deepEqual(
    batch.sas.map(({ id }) => spiHex(id!)),
    [spiHex(sa(2, 3).id!)],
  );
});
