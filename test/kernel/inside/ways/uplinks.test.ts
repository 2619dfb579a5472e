import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { PeerState } from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { eventually } from '../../../eventually.ts';
import { Product } from '../product.ts';
import { A, B, idsOf, type Uplink, Uplinks } from './uplinks.ts';

/** Spokes of each uplink: when one is cut, one dies on the other. */
const SPOKES = new Map([
  [A, 4],
  [B, 4],
]);
const PROBES = 2;
const VERDICT_MS = 150_000;
const LOOK_MS = 200;
const ALL_MS = 600_000;
/** The spokes of one uplink are a storm, the one that dies on the other is none. */
const STORM = ['--storm-count', '2'];

type Cut = (lab: Uplinks) => Promise<() => Promise<void>>;

/** Between the hub's own rules and its wire: no canary of that way comes home. A hook for output knows the first route's device alone. */
const AT_HUB: readonly (readonly [name: string, cut: Uplink, other: Uplink, how: Cut])[] = [
  ['link down, of what the main table prefers', B, A, (lab) => lab.unplug(B)],
  ['the way out alone', A, B, (lab) => lab.cutAtHub('output', `ip saddr ${A.hub}`)],
  ['the way in alone', A, B, (lab) => lab.cutAtHub('input', `ip daddr ${A.hub} udp dport 4500`)],
];
/** Where no canary goes: they turn around on the hub, and those that come in do so by its loopback. */
const BEYOND: Readonly<Record<string, Cut>> = {
  'the way in, at the provider': (lab) => lab.cutBeyond(A, 'to the hub'),
  'the way out, at the provider': (lab) => lab.cutBeyond(A, 'from the hub'),
};

describe('a hub behind policy routing with two uplinks', { timeout: ALL_MS }, () => {
  let lab: Uplinks;
  let product: Product;
  const living = new Map(Array.from(SPOKES, ([uplink, count]) => [uplink, idsOf(uplink, count)]));
  const dead: string[] = [];
  const each = (uplink: Uplink, what: (peerId: string) => Promise<void>) => Promise.all(living.get(uplink)!.map(what));
  const judged = () => product.verdicts.map(({ peerId }) => peerId);
  const askedOn = async (peerId: string) => {
    const { probesAnswered } = (await product.peer(peerId))!;
    await product.answered(probesAnswered + PROBES, peerId);
  };
  const told = (t: TestContext) =>
    t.after(() => {
      if (t.error) process.stdout.write(product.log);
    });

  before(async () => {
    lab = await Uplinks.up(SPOKES);
    product = new Product(lab, { nodeFlags: STORM });
    await product.serve();
  });
  after(async () => {
    await product?.stop();
    await lab?.down();
  });

  test('every SA is asked from its own address, by its own way', async (t) => {
    told(t);
    for (const uplink of [A, B]) await each(uplink, (peerId) => product.answered(PROBES, peerId));
    product.watch();
    for (const uplink of [A, B]) {
      assert.deepEqual(new Set(await lab.hubsOf(uplink)), new Set([`${uplink.hub} 4500`]));
      assert.equal(await lab.strays(uplink), 0, `what is another's came to provider ${uplink.name}`);
    }
  });

  for (const [name, cut, other, how] of AT_HUB)
    test(`an uplink cut at the hub, ${name}: its SAs are blocked, a dead spoke on the other has its verdict`, async (t) => {
      told(t);
      const mend = await how(lab);
      await each(cut, (peerId) => product.is(peerId, PeerState.BLOCKED));
      const dies = living.get(other)!.shift()!;
      await lab.kill(other, dies);
      dead.push(dies);
      await eventually('the verdict comes', VERDICT_MS, () => judged().length >= dead.length, LOOK_MS);
      await each(cut, (peerId) => product.is(peerId, PeerState.BLOCKED));
      await mend();
      await each(cut, askedOn);
      assert.deepEqual(judged(), dead);
    });

  for (const [name, cut] of Object.entries(BEYOND))
    test(`an uplink cut where no canary goes, ${name}: verdicts are held, and taken back when it is mended`, async (t) => {
      told(t);
      const mend = await cut(lab);
      await each(A, (peerId) => product.is(peerId, PeerState.HELD));
      await mend();
      await each(A, (peerId) => product.is(peerId, PeerState.ALIVE));
      await each(A, askedOn);
      assert.deepEqual(judged(), dead);
    });
});
