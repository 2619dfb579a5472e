/** The kernel's table of SAs (NETLINK_XFRM): all SAs with one request, without the IKE daemon. */

import type { Address } from '../../../../workers/base/address.ts';
import { NetlinkSocket } from './netlink.ts';
import { Dump, SaColumns } from './sa-columns.ts';

export const NETLINK_XFRM = 6;
const XFRM_MSG_GETSA = 18;

export class XfrmSas {
  readonly #socket: NetlinkSocket;
  readonly #words: Uint32Array;
  readonly #columns = new SaColumns();

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
    const { buffer, byteOffset, length } = socket.bytes;
    this.#words = new Uint32Array(buffer, byteOffset, length / Uint32Array.BYTES_PER_ELEMENT);
  }

  /** Of the network namespace where this thread is. Undefined where the kernel has no XFRM or cannot be asked. */
  static open(): XfrmSas | undefined {
    const socket = NetlinkSocket.open(NETLINK_XFRM);
    return socket && new XfrmSas(socket);
  }

  /**
   * Reads the table. The result is valid until the next look; SAs that come or go meanwhile may be in it or not.
   * @returns undefined if the kernel refused (only CAP_NET_ADMIN may ask) or did not come to an end: close it and open another
   */
  list(): SaColumns | undefined {
    const columns = this.#columns;
    columns.clear();
    const sequence = this.#socket.askForAll(XFRM_MSG_GETSA);
    if (sequence < 0) return undefined;
    for (;;) {
      const length = this.#socket.take();
      if (length <= 0) return undefined;
      const state = columns.add(this.#words, length, sequence);
      if (state !== Dump.MORE) return state === Dump.DONE ? columns : undefined;
    }
  }

  /** The row, at the last look, of the SA that has this SPI at this destination, or -1. */
  find(spi: number, destination: Address): number {
    return this.#columns.find(spi, destination);
  }

  close(): void {
    this.#socket.close();
  }
}
