import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ProbeSocket } from '../../workers/probe-socket.ts';
import { SENDS_IN_FLIGHT, SendBuffers } from '../../workers/send-buffers.ts';
import { bindUdp } from '../../workers/udp.ts';
import { eventually } from '../eventually.ts';

const LOOPBACK = 0x7f000001;
/** No unprivileged process may send here: the kernel refuses with EACCES or ENETUNREACH, whoever we are. */
const BROADCAST = 0xffffffff;

describe('a probe socket', () => {
  test('says of exactly those messages that could not leave whose they were', async (t) => {
    const failed: number[] = [];
    const sink = await bindUdp('127.0.0.1', 0);
    const socket = await ProbeSocket.bind(
      '127.0.0.1',
      0,
      () => {},
      (handle) => failed.push(handle),
    );
    t.after(() => {
      sink.close();
      socket.close();
    });
    let arrived = 0;
    sink.on('message', () => arrived++);
    const message = Buffer.from('probe');
    for (let handle = 0; handle < 3_000; handle++)
      assert(socket.send(message, handle % 1_000 === 7 ? BROADCAST : LOOPBACK, sink.address().port, handle));
    await eventually('three failures', 2_000, () => failed.length === 3);
    assert.deepEqual(failed, [7, 1_007, 2_007]);
    await eventually('all others arrive', 2_000, () => arrived === 2_997);
  });

  test('hands on what arrives', async (t) => {
    const arrived = Promise.withResolvers<Buffer>();
    const socket = await ProbeSocket.bind('127.0.0.1', 0, arrived.resolve, () => {});
    const other = await bindUdp('127.0.0.1', 0);
    t.after(() => {
      socket.close();
      other.close();
    });
    other.send('answer', socket.port, '127.0.0.1');
    assert.equal(String(await arrived.promise), 'answer');
    // Somebody else has the port.
    await assert.rejects(
      ProbeSocket.bind(
        '127.0.0.1',
        socket.port,
        () => {},
        () => {},
      ),
      { code: 'EADDRINUSE' },
    );
  });
});

test('a buffer is as long as its message, and is not used again too soon', () => {
  const buffers = new SendBuffers();
  const first = buffers.next(61);
  const seen = new Set([first]);
  for (let n = 1; n < SENDS_IN_FLIGHT; n++) {
    seen.add(buffers.next(61));
    assert.equal(buffers.next(32).length, 32);
  }
  assert.equal(seen.size, SENDS_IN_FLIGHT);
  assert([...seen].every(({ length }) => length === 61));
  assert.equal(buffers.next(61), first);
});
