/** A probe socket of both families: one of each, on the same port. */

import type { Address } from '../base/address.ts';
import type { ProbeSocket } from './probe-socket.ts';

export class DualProbeSocket implements ProbeSocket {
  readonly #v4: ProbeSocket;
  readonly #v6: ProbeSocket;

  constructor(v4: ProbeSocket, v6: ProbeSocket) {
    this.#v4 = v4;
    this.#v6 = v6;
  }

  get port(): number {
    return this.#v4.port;
  }

  send(message: Buffer, address: Address, port: number, handle: number): boolean {
    return (address.family === 4 ? this.#v4 : this.#v6).send(message, address, port, handle);
  }

  receive(): void {
    this.#v4.receive();
    this.#v6.receive();
  }

  close(): void {
    this.#v4.close();
    this.#v6.close();
  }
}
