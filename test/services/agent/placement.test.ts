import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Placement } from '../../../services/agent/placement.ts';

const node = (address: string, draining = false) => ({ id: address, address, draining });

function rig(shards: number, seeds = ['a', 'b', 'c']) {
  let now = 0;
  const placement = new Placement('hub', shards, seeds, () => now);
  const where = () => Array.from({ length: shards }, (_, shard) => placement.choose(shard));
  return {
    placement,
    where,
    pass: (ms: number) => {
      now += ms;
    },
    counts: () => [...Map.groupBy(where(), (address) => address).values()].map((all) => all.length).sort(),
  };
}

describe('placement', () => {
  test('shards are spread evenly, and stay where they are', () => {
    const { where, counts } = rig(8);
    const first = where();
    assert.deepEqual(counts(), [2, 3, 3]);
    assert.deepEqual(where(), first);
  });

  test('a node that fails is left alone for a while; its shards go to the others', () => {
    const { placement, where, pass } = rig(6);
    const before = where();
    before.forEach((address, shard) => address === 'a' && placement.failed(shard, 'a'));
    assert(!where().includes('a'));
    before.forEach((address, shard) => address !== 'a' && assert.equal(where()[shard], address));
    pass(3_001);
    assert.equal(placement.next(true) !== undefined, true, 'nothing goes back to a node that can be used again');
  });

  test('all failed: the operator’s addresses are tried in turn', () => {
    const { placement } = rig(1);
    const tried = new Set<string>();
    for (let n = 0; n < 6; n++) {
      const address = placement.choose(0);
      tried.add(address);
      placement.failed(0, address);
    }
    assert.equal(tried.size, 3);
  });

  test('a node that drains is left at once, whatever the balance', () => {
    const { placement, where } = rig(4);
    placement.learn([node('a'), node('b')]);
    where();
    placement.learn([node('a', true), node('b')]);
    for (let shard = placement.next(false); shard !== undefined; shard = placement.next(false)) placement.choose(shard);
    assert.deepEqual(where(), ['b', 'b', 'b', 'b']);
  });

  test('property: after any joins and leaves the spread is even, with no more moves than it takes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5 }),
        fc.array(fc.subarray(['a', 'b', 'c', 'd', 'e'], { minLength: 1 }), { minLength: 1, maxLength: 6 }),
        (bits, memberships) => {
          const shards = 2 ** bits;
          const { placement, where } = rig(shards, ['a']);
          where();
          for (const members of memberships) {
            placement.learn(members.map((address) => node(address)));
            where().forEach((address, shard) => !members.includes(address) && placement.failed(shard, address));
            where();
            let moves = 0;
            for (let shard = placement.next(true); shard !== undefined; shard = placement.next(true)) {
              placement.choose(shard);
              moves++;
              assert(moves <= shards, 'it never ends');
            }
            const counts = members.map((address) => where().filter((at) => at === address).length);
            assert(Math.max(...counts) - Math.min(...counts) <= 1, `${counts}`);
          }
        },
      ),
    );
  });
});
