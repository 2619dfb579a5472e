import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { ReceiveDrops } from '../../../workers/net/receive-drops.ts';

const ADDRESS = '127.0.0.1';

const skip = process.platform === 'linux' ? false : 'only Linux tells what a socket dropped';
test('what the kernel drops from a full queue is counted, once', { skip }, async (t) => {
  const receiver = createSocket({ type: 'udp4', recvBufferSize: 2_048 });
  const sender = createSocket('udp4');
  t.after(() => {
    receiver.close();
    sender.close();
  });
  let read = 0;
  receiver.on('message', () => read++);
  receiver.bind(0, ADDRESS);
  await once(receiver, 'listening');
  const { port } = receiver.address();
  const drops = new ReceiveDrops(ADDRESS, port);
  const other = new ReceiveDrops(ADDRESS, port === 65_535 ? port - 1 : port + 1);
  assert.equal(await drops.readNew(0), 0);

  const sent = 300;
  let leaving = sent;
  const left = Promise.withResolvers<void>();
  // All in one turn of the loop, so that nothing is read meanwhile.
  for (let n = 0; n < sent; n++) sender.send(Buffer.alloc(100), port, ADDRESS, () => --leaving === 0 && left.resolve());
  await left.promise;
  const dropped = await drops.readNew(1_000);
  assert(dropped > 0, 'nothing was dropped');
  assert.equal(await drops.readNew(2_000), 0);
  assert.equal(await other.readNew(2_000), 0);
  while (read + dropped < sent) await new Promise(setImmediate);
  assert.equal(read + dropped, sent);
});
