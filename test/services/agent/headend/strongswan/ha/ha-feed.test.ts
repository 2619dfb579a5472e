import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HaFeed } from '../../../../../../services/agent/headend/strongswan/ha/ha-feed.ts';
import { type HaMessage, HaType } from '../../../../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { createLogger, type Logger } from '../../../../../../services/base/log.ts';
import { bindUdp } from '../../../../../../workers/net/udp.ts';
import { eventually } from '../../../../../eventually.ts';

/** The plugin's port; addresses that no lab uses. */
const PORT = 4510;
const [OWN, CHARON] = ['127.45.10.2', '127.45.10.3'];

test('a charon of another version byte is not heard, and told by it, until one is that is known', async (t) => {
  const heard: HaMessage[] = [];
  const charon = await bindUdp(CHARON, PORT);
  const feed = await HaFeed.open(OWN, CHARON, createLogger('test', 'silent'), {
    message: (message) => heard.push(message),
    restarted: () => {},
  });
  t.after(async () => {
    await feed.close();
    charon.close();
  });
  assert.equal(feed.misunderstood, undefined);
  charon.send(Buffer.of(6, HaType.STATUS), PORT, OWN);
  await eventually('it is told', 2_000, () => feed.misunderstood !== undefined);
  assert.match(feed.misunderstood!, /version byte 6, known are 3/);
  assert.equal(feed.alive, false);
  charon.send(Buffer.of(5, HaType.CHILD_DELETE), PORT, OWN);
  await eventually('it is heard', 2_000, () => feed.alive);
  assert.equal(feed.misunderstood, undefined);
  assert.equal(heard.length, 1);
});

test('what cannot be made use of, or comes from elsewhere, is dropped and told; what charon says then is heard', async (t) => {
  const charon = await bindUdp(CHARON, PORT);
  const another = await bindUdp(CHARON, 0);
  const [log, told] = logTo();
  const heard: number[] = [];
  const feed = await HaFeed.open(OWN, CHARON, log, {
    message: ({ type }) => {
      heard.push(type);
      if (type === HaType.IKE_ADD) throw new RangeError('PRF 999 is not spoken');
    },
    restarted: () => {},
  });
  t.after(async () => {
    await feed.close();
    charon.close();
    another.close();
  });
  another.send(Buffer.of(3, HaType.IKE_DELETE), PORT, OWN);
  for (const junk of [
    [],
    [3],
    [3, HaType.IKE_ADD, 99],
    // An SA id, a chunk, a host and a selector that end too early; a text without an end.
    [3, HaType.IKE_ADD, 1, 2, 3],
    [3, HaType.IKE_ADD, 17, 0xff, 0xff, 1],
    [3, HaType.IKE_ADD, 6, 0x11, 0x94, 99],
    [3, HaType.CHILD_ADD, 31, 8, 1],
    [3, HaType.IKE_UPDATE, 8, 0x41],
  ])
    charon.send(Buffer.from(junk), PORT, OWN);
  charon.send(Buffer.of(3, HaType.IKE_ADD), PORT, OWN);
  charon.send(Buffer.of(3, HaType.CHILD_DELETE), PORT, OWN);
  await eventually('the last is heard', 2_000, () => heard.length === 2);
  assert.deepEqual(heard, [HaType.IKE_ADD, HaType.CHILD_DELETE]);
  assert.match(told.join(''), /from 127\.45\.10\.3:\d+, which is not charon's ha plugin/);
});

/** A logger, and what it was told. */
function logTo(): [log: Logger, told: string[]] {
  const told: string[] = [];
  const log = { error: (facts: object) => told.push(JSON.stringify(facts)) };
  return [log as unknown as Logger, told];
}
