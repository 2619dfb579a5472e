/**
 * Three hosts in a row, in network namespaces: the hub sends on what the sender sends, and the receiver drops it, as it has no address.
 *
 *   sender 10.8.1.2 -- 10.8.1.1 `in` hub 10.8.2.1 `out` -- 10.8.2.2, so the hub believes
 *
 * Each packet goes all the way within the system call that sends it.
 */

import { writeFileSync } from 'node:fs';
import { Namespace } from '../../../test/kernel/inside/netns.ts';
import { Address } from '../../../workers/base/address.ts';
import { Datagrams } from '../../../workers/net/datagrams.ts';
import { type OpenSocket, openSocket } from '../../../workers/net/sockets.ts';
import { threadCpuMicros } from '../measure.ts';

const PORT = 4500;
const BUFFER_BYTES = 4 * 1024 * 1024;
/** The first SPI that Linux and charon give, and ciphertext as of a packet with nothing but an ACK in it. */
const SPI = 0xc0000000;
const LENGTH = 100;
/** Datagrams for one system call: as many as it takes. */
const BATCH = 1_024;
const SENDER = '10.8.1.2';
const RECEIVER = Address.of('10.8.2.2');
export const NODE_DEVICE = 'to-node';
const RECEIVERS_LINK = '02:00:00:00:00:02';

export class Row {
  readonly hub: Namespace;
  readonly #sender: Namespace;
  readonly #receiver: Namespace;
  readonly #socket: OpenSocket;
  readonly #packets = new Datagrams(BATCH, LENGTH);

  private constructor(sender: Namespace, hub: Namespace, receiver: Namespace) {
    this.#sender = sender;
    this.hub = hub;
    this.#receiver = receiver;
    this.#socket = sender.enter(() => openSocket(Address.of(SENDER), PORT, BUFFER_BYTES)!);
    for (let n = 0; n < BATCH; n++) {
      this.#packets.bytes.writeUInt32BE(SPI + n, n * LENGTH);
      this.#packets.address(n, LENGTH, RECEIVER, PORT);
    }
  }

  static async make(): Promise<Row> {
    const hosts: Namespace[] = [];
    try {
      for (const host of ['sender', 'hub', 'receiver'])
        hosts.push(await Namespace.make(`dpdrow${process.pid}-${host}`));
      const [sender, hub, receiver] = hosts as [Namespace, Namespace, Namespace];
      await sender.ip('link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'in', 'netns', hub.name);
      const far = ['peer', 'name', 'in', 'address', RECEIVERS_LINK, 'netns', receiver.name];
      await hub.ip('link', 'add', 'out', 'type', 'veth', ...far);
      // What a node would be behind.
      await hub.ip('link', 'add', NODE_DEVICE, 'type', 'veth', 'peer', 'name', 'nobody');
      await sender.ip('addr', 'add', `${SENDER}/24`, 'dev', 'out');
      await hub.ip('addr', 'add', '10.8.1.1/24', 'dev', 'in');
      await hub.ip('addr', 'add', '10.8.2.1/24', 'dev', 'out');
      for (const [host, device] of [
        [sender, 'out'],
        [hub, 'in'],
        [hub, 'out'],
        [receiver, 'in'],
      ] as const)
        await host.ip('link', 'set', device, 'up');
      await sender.ip('route', 'add', 'default', 'via', '10.8.1.1');
      await hub.ip('neigh', 'add', String(RECEIVER), 'lladdr', RECEIVERS_LINK, 'nud', 'permanent', 'dev', 'out');
      hub.enter(() => writeFileSync('/proc/sys/net/ipv4/ip_forward', '1'));
      return new Row(sender, hub, receiver);
    } catch (error) {
      for (const host of hosts) await host.remove();
      throw error;
    }
  }

  /**
   * Sends so many packets at full rate. Returns what each has cost, ns of this thread's CPU; hub and receiver work within it, and are
   * on its account unless the kernel keeps that of interrupts for itself (CONFIG_IRQ_TIME_ACCOUNTING).
   */
  flood(packets: number): number {
    const before = threadCpuMicros();
    for (let sent = 0; sent < packets; ) {
      const now = this.#packets.send(this.#socket.fd, 0, Math.min(BATCH, packets - sent));
      if (now < 0) throw new Error('the kernel does not take packets');
      sent += now;
    }
    return ((threadCpuMicros() - before) * 1_000) / packets;
  }

  /** Packets that have come to the receiver. */
  async arrived(): Promise<number> {
    const said = await this.#receiver.ip('-s', '-j', 'link', 'show', 'dev', 'in');
    return (JSON.parse(said) as { stats64: { rx: { packets: number } } }[])[0]!.stats64.rx.packets;
  }

  async remove(): Promise<void> {
    this.#socket.close();
    for (const host of [this.#sender, this.hub, this.#receiver]) await host.remove();
  }
}
