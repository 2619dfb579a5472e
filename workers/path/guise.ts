/**
 * Messages as they are on the wire: on port 4500 behind a marker, on port 500 without. On a guarded path they are false, and only the
 * headend's rules make IKE messages of them (ikev2/header.ts). Everywhere else in the shard a message has a marker of zero.
 */

import { copy } from '../base/bytes.ts';
import { MAX_MESSAGE_LENGTH } from '../base/limits.ts';
import { falseMarker, falseWord, IKE_PORT, MARKER_LENGTH, Offset, type Order } from '../ikev2/header.ts';
import { SendBuffers } from '../net/send-buffers.ts';

/** Of a message without its marker. */
const WORD_AT = Offset.NEXT_PAYLOAD - MARKER_LENGTH;

export class Guise {
  readonly #sent = new SendBuffers();
  /** The datagram received last, with the marker that it came without; and views of it by length. */
  readonly #received = Buffer.alloc(MAX_MESSAGE_LENGTH);
  readonly #views: (Buffer | undefined)[] = [];

  /**
   * A message as it leaves. One with a marker is changed in place.
   * @param ikePort of the headend: 500 or 4500; @param order undefined: no rules, the message leaves as it is
   */
  put(message: Buffer, ikePort: number, order: Order | undefined): Buffer {
    if (ikePort !== IKE_PORT) {
      message.writeUInt32BE(order === undefined ? 0 : falseMarker(order), Offset.MARKER);
      return message;
    }
    const length = message.length - MARKER_LENGTH;
    const bare = this.#sent.next(length);
    copy(message, MARKER_LENGTH, bare, 0, length);
    if (order !== undefined) bare.writeUInt32BE(falseWord(order, bare.readUInt32BE(WORD_AT)), WORD_AT);
    return bare;
  }

  /** A datagram with a marker; one from port 500 gets it here. Valid until the next call. */
  take(datagram: Buffer, fromPort: number): Buffer {
    const length = datagram.length + MARKER_LENGTH;
    // Behind a NAT a spoke may have any port. A datagram that is too long is no message anyway.
    if (fromPort !== IKE_PORT || datagram.length < MARKER_LENGTH || length > MAX_MESSAGE_LENGTH) return datagram;
    if (datagram.readUInt32BE() === 0) return datagram;
    const message = this.#view(length);
    message.writeUInt32BE(0, Offset.MARKER);
    copy(datagram, 0, message, MARKER_LENGTH, datagram.length);
    return message;
  }

  #view(length: number): Buffer {
    this.#views[length] ??= this.#received.subarray(0, length);
    return this.#views[length];
  }
}
