import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Address } from '../../../workers/base/address.ts';
import { MAX_MESSAGE_LENGTH } from '../../../workers/base/limits.ts';
import { BatchProbeSocket } from '../../../workers/net/batch-probe-socket.ts';
import { BUSY, Datagrams } from '../../../workers/net/datagrams.ts';
import { NodeProbeSocket } from '../../../workers/net/node-probe-socket.ts';
import {
  bindProbeSocket,
  placeProbeSocket,
  placeProbeSockets,
  useProbeSocket,
} from '../../../workers/net/open-probe-socket.ts';
import type { AnsweringSocket, OnDatagram, OnFailed } from '../../../workers/net/probe-socket.ts';
import { SENDS_IN_FLIGHT, SendBuffers } from '../../../workers/net/send-buffers.ts';
import { bindUdp } from '../../../workers/net/udp.ts';
import { eventually } from '../../eventually.ts';

const LOOPBACK = Address.of('127.0.0.1');
/** No unprivileged process may send here: the kernel refuses with EACCES or ENETUNREACH, whoever we are. */
const BROADCAST = Address.of('255.255.255.255');

type Bind = (port: number, onDatagram: OnDatagram, onFailed: OnFailed) => Promise<AnsweringSocket>;

const KINDS: Readonly<Record<string, Bind>> = {
  'in batches': async (port, onDatagram, onFailed) => {
    const socket = await bindProbeSocket('127.0.0.1', port, onDatagram, onFailed);
    assert(socket instanceof BatchProbeSocket, 'this Node can call the C library');
    return socket;
  },
  "of Node's own": (port, onDatagram, onFailed) => NodeProbeSocket.bind('127.0.0.1', port, onDatagram, onFailed),
};

for (const [kind, bind] of Object.entries(KINDS))
  describe(`a probe socket ${kind}`, () => {
    test('says of exactly those messages that could not leave whose they were', async (t) => {
      const failed: number[] = [];
      const sink = await bindUdp('127.0.0.1', 0);
      const socket = await bind(
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
      // A failure is never reported to a sender during its call.
      assert.deepEqual(failed, []);
      await eventually('three failures', 30_000, () => failed.length === 3);
      assert.deepEqual(failed, [7, 1_007, 2_007]);
      await eventually('all others arrive', 30_000, () => arrived === 2_997);
    });

    test('hands on what arrives, and answers whoever sent it', async (t) => {
      const arrived: string[] = [];
      const asked: AnsweringSocket = await bind(
        0,
        (datagram) => {
          arrived.push(String(datagram));
          assert(asked.answer(Buffer.from(`${datagram}!`)));
        },
        () => {},
      );
      const others = await Promise.all([bindUdp('127.0.0.1', 0), bindUdp('127.0.0.1', 0)]);
      t.after(() => {
        asked.close();
        for (const other of others) other.close();
      });
      const answers = others.map((): string[] => []);
      others.forEach((other, n) => {
        other.on('message', (answer) => answers[n]!.push(String(answer)));
        for (const word of ['a', 'bc', 'd']) other.send(`${word}${n}`, asked.port, '127.0.0.1');
      });
      await eventually('all arrive', 30_000, () => {
        asked.receive();
        return arrived.length === 6;
      });
      await eventually('all are answered', 30_000, () => answers.flat().length === 6);
      assert.deepEqual(answers, [
        ['a0!', 'bc0!', 'd0!'],
        ['a1!', 'bc1!', 'd1!'],
      ]);
    });

    test('takes no port that somebody else has', async (t) => {
      const other = await bindUdp('127.0.0.1', 0);
      t.after(() => other.close());
      const nothing = () => {};
      await assert.rejects(bind(other.address().port, nothing, nothing), { code: 'EADDRINUSE' });
    });

    test('shows that a datagram was longer than any message', async (t) => {
      const lengths: number[] = [];
      const socket = await bind(
        0,
        (datagram) => lengths.push(datagram.length),
        () => {},
      );
      const other = await bindUdp('127.0.0.1', 0);
      t.after(() => {
        socket.close();
        other.close();
      });
      for (const length of [MAX_MESSAGE_LENGTH, 3 * MAX_MESSAGE_LENGTH, 1])
        other.send(Buffer.alloc(length), socket.port, '127.0.0.1');
      await eventually('three', 30_000, () => {
        socket.receive();
        return lengths.length === 3;
      });
      assert.equal(lengths[0], MAX_MESSAGE_LENGTH);
      assert(lengths[1]! > MAX_MESSAGE_LENGTH);
      assert.equal(lengths[2], 1);
    });
  });

test('what the kernel does not take waits, in order, and is sent when the socket is asked next; more is not taken', async (t) => {
  const sink = await bindUdp('127.0.0.1', 0);
  t.after(() => sink.close());
  const arrived: number[] = [];
  sink.on('message', (message) => arrived.push(message[0]!));
  let taken = 0;
  /** Of which the kernel takes some only. */
  class Clogged extends Datagrams {
    override send(fd: number, first: number, end: number): number {
      const now = Math.min(end - first, taken);
      taken -= now;
      return now === 0 ? BUSY : super.send(fd, first, first + now);
    }
  }
  const nothing = () => {};
  const { place, close } = placeProbeSocket('127.0.0.1', 0);
  t.after(close);
  const socket = new BatchProbeSocket({ fd: place.fd!, port: place.port }, nothing, nothing, new Clogged(4, 8));
  const send = (n: number) => socket.send(Buffer.of(n), LOOPBACK, sink.address().port, n);
  assert.deepEqual([0, 1, 2, 3, 4].map(send), [true, true, true, true, false]);
  taken = 3;
  socket.receive();
  assert.equal(send(5), false);
  taken = 2;
  socket.receive();
  assert.equal(send(5), true);
  taken = 1;
  await eventually('five', 30_000, () => arrived.length === 5);
  assert.deepEqual(arrived, [0, 1, 2, 3, 5]);
  assert.throws(() => socket.send(Buffer.alloc(9), LOOPBACK, 9, 0), RangeError);
});

test('both families leave by the same port, and what comes by either is handed on with its sender', async (t) => {
  const { place, close } = placeProbeSockets('127.0.0.1', '::1', 0);
  t.after(close);
  if (!place.v6) return t.skip('this machine has no IPv6');
  const arrived: string[] = [];
  const socket = await useProbeSocket(
    place,
    (datagram, { address, port }) => arrived.push(`${datagram} ${address} ${port}`),
    () => {},
  );
  const peers = await Promise.all(['127.0.0.1', '::1'].map((address) => bindUdp(address, 0)));
  t.after(() => peers.forEach((peer) => void peer.close()));
  const expected = peers.map((peer) => {
    const { address, port } = peer.address();
    peer.on('message', (message, from) => {
      assert.equal(from.port, socket.port);
      assert.equal(from.address, address);
      peer.send(message, from.port, from.address);
    });
    assert(socket.send(Buffer.from('probe'), Address.of(address), port, 0));
    return `probe ${address} ${port}`;
  });
  await eventually('both answers', 30_000, () => {
    socket.receive();
    return arrived.length === 2;
  });
  assert.deepEqual(arrived.sort(), expected.sort());
});

test('a socket that was placed for a thread is open until whoever placed it closes it', async () => {
  const { place, close } = placeProbeSocket('127.0.0.1', 0);
  const nothing = () => {};
  const used = await useProbeSocket(place, nothing, nothing);
  used.close();
  await sleep(0);
  await assert.rejects(bindUdp('127.0.0.1', place.port), { code: 'EADDRINUSE' });
  close();
  const next = await bindUdp('127.0.0.1', place.port);
  // A second close does not touch the socket that has its number now.
  close();
  await assert.rejects(bindUdp('127.0.0.1', place.port), { code: 'EADDRINUSE' });
  next.close();
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
