import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Looks, MANY } from '../../../../../services/agent/headend/strongswan/looks.ts';
import type { ListedSa } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';

function rig() {
  const asked: (string | undefined)[] = [];
  const state = { fails: false };
  const looks = new Looks(async (wanted, uniqueId) => {
    asked.push(uniqueId);
    if (state.fails) throw new Error('charon is away');
    const ids = uniqueId === undefined ? Array.from({ length: 100 }, (_, n) => `${n}`) : [uniqueId];
    return ids.map((id) => ({ spi: `spi-${id}`, uniqueId: id }) as ListedSa).filter(wanted);
  });
  const find = async (n: number, known = true) =>
    (await looks.find({ spi: `spi-${n}`, uniqueId: known ? `${n}` : undefined }))?.uniqueId;
  return { asked, state, find };
}
const several = (count: number) => Array.from({ length: count }, (_, n) => n);

test('a few SAs are looked at one by one, many by one list, and each is found', async () => {
  const { asked, find } = rig();
  assert.deepEqual(await Promise.all(several(3).map((n) => find(n))), ['0', '1', '2']);
  assert.deepEqual(asked, ['0', '1', '2']);
  assert.deepEqual(await Promise.all(several(MANY).map((n) => find(n))), several(MANY).map(String));
  assert.deepEqual(asked.slice(3), [undefined]);
  assert.equal(await find(7, false), '7', 'one whose number is not known');
  assert.equal(await find(1_000, false), undefined, 'one that charon has not');
});

test('what is asked for while many are looked at is looked at afterwards, together', async () => {
  const { asked, find } = rig();
  const first = Promise.all(several(MANY).map((n) => find(n)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  const second = several(MANY).map((n) => find(n + MANY));
  await first;
  assert.deepEqual(
    await Promise.all(second),
    several(MANY).map((n) => `${n + MANY}`),
  );
  assert.deepEqual(asked, [undefined, undefined]);
});

test('while charon cannot be asked whoever asks is told, and the next is not held up', async () => {
  const { state, find } = rig();
  state.fails = true;
  for (const outcome of await Promise.allSettled(several(MANY + 1).map((n) => find(n))))
    assert.equal(outcome.status, 'rejected');
  state.fails = false;
  assert.equal(await find(5), '5');
});
