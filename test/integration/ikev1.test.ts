import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ikev1SuiteNamed } from '../../loadtest/spokes/ikev1.ts';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, Rig } from './rig.ts';

for (const [cipher, hash] of [
  ['des-ede3-cbc', 'sha1'],
  ['aes-256-cbc', 'sha512'],
] as const)
  test(`spokes of IKEv1, ${cipher} with ${hash}: a node dies, its successor is answered by all, and judges only the dead`, async (t) => {
    const spokes = 60;
    const dead = [7, 33];
    const rig = await Rig.start({ spokes, suite: ikev1SuiteNamed(cipher, hash) });
    t.after(() => rig.stop());
    await rig.startAgent();

    const redis = await connectRedis(rig.redisUrl);
    const stored = await Promise.all((await redis.keys('*')).map((key) => redis.dumpBuffer(key)));
    redis.disconnect();
    for (let spoke = 0; spoke < spokes; spoke++) {
      const { encryptionKey, skeyidA } = rig.sa(spoke).keys!;
      for (const record of stored)
        assert(!record?.includes(encryptionKey) && !record?.includes(skeyidA), 'a key is in Redis in the clear');
    }

    // The spokes take no number twice, and none below the last.
    await rig.node.stop('SIGKILL');
    await rig.startNode();
    await sleep(2 * DETECTION_MS);
    const before = rig.responder.answered;
    await eventually('all are asked by the new owner', 20_000, () => rig.responder.answered - before >= 2 * spokes);
    assert.equal(rig.verdicts.length, 0, 'a living spoke was declared dead');

    for (const spoke of dead) rig.responder.kill(spoke, 0);
    await eventually('the dead are found', 10_000, () => rig.verdicts.length >= dead.length);
    await sleep(2 * DETECTION_MS);
    assert.deepEqual(rig.verdicts.map(({ peerId }) => peerId).sort(), dead.map((spoke) => `spoke-${spoke}`).sort());
  });
