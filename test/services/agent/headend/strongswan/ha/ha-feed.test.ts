import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HaFeed } from '../../../../../../services/agent/headend/strongswan/ha/ha-feed.ts';
import { type HaMessage, HaType } from '../../../../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { createLogger } from '../../../../../../services/base/log.ts';
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
