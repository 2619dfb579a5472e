/**
 * A netlink socket of the C library (netlink(7)), for requests that the kernel answers at once: it writes the first part of the
 * answer while it takes the request, and each next part when one is read. So nothing here ever waits.
 */

import { nativeFunctions, nativeMemory } from '../../../../workers/base/ffi.ts';

const libc = nativeFunctions({
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  send: { return: 'int64', arguments: ['int32', 'pointer', 'uint64', 'int32'] },
  recv: { return: 'int64', arguments: ['int32', 'pointer', 'uint64', 'int32'] },
  close: { return: 'int32', arguments: ['int32'] },
});

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
/** More than the kernel writes at a time (32 KiB), whose messages are a multiple of four bytes. */
const ANSWER_BYTES = 65_536;
/** Longest question, bytes. */
const QUESTION_BYTES = 256;

/** struct nlmsghdr: length, type, flags, sequence number, port. */
export const Header = { LENGTH: 16, SIZE: 0, TYPE: 4, FLAGS: 6, SEQUENCE: 8 } as const;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP = 0x300;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export class NetlinkSocket {
  readonly #question = nativeMemory(QUESTION_BYTES);
  readonly #answer = nativeMemory(ANSWER_BYTES);
  /** -1: closed. The system may give its number to others. */
  #fd: number;
  #sequence = 0;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens one in the network namespace where this thread is.
   * @param protocol NETLINK_*
   * @returns undefined if the kernel does not have the protocol or the C library cannot be called
   */
  static open(protocol: number): NetlinkSocket | undefined {
    const fd = libc?.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol) ?? -1;
    return fd < 0 ? undefined : new NetlinkSocket(fd);
  }

  /** The messages read last, from their start; valid until the next read. */
  get bytes(): Buffer {
    return this.#answer.bytes;
  }

  /** Requests a dump of all objects of a kind, without a body. Returns the request's number, or -1 if it was not taken. */
  askForAll(type: number): number {
    return this.#send(type, NLM_F_DUMP, 0) ? this.#sequence : -1;
  }

  /** Sends the kernel a command. Returns 0, or the number of its error; -1: the kernel did not take it. @param body behind the header */
  tell(type: number, body: Buffer): number {
    body.copy(this.#question.bytes, Header.LENGTH);
    if (!this.#send(type, NLM_F_ACK, body.length)) return -1;
    const length = this.take();
    const { bytes } = this;
    const answered = length > Header.LENGTH && bytes.readUInt16LE(Header.TYPE) === NLMSG_ERROR;
    return answered ? -bytes.readInt32LE(Header.LENGTH) : -1;
  }

  /** Takes the next messages of an answer into `bytes`. Returns their length, bytes; 0 or less: there are none. */
  take(): number {
    return Number(libc!.recv(this.#fd, this.#answer.address, BigInt(ANSWER_BYTES), MSG_DONTWAIT));
  }

  close(): void {
    if (this.#fd >= 0) libc!.close(this.#fd);
    this.#fd = -1;
  }

  /** Sends a request with a new number; its body is in place already. Returns whether it was taken. */
  #send(type: number, flags: number, bodyLength: number): boolean {
    const { bytes, address } = this.#question;
    const length = Header.LENGTH + bodyLength;
    this.#sequence = (this.#sequence + 1) & 0x7fffffff;
    bytes.writeUInt32LE(length, Header.SIZE);
    bytes.writeUInt16LE(type, Header.TYPE);
    bytes.writeUInt16LE(NLM_F_REQUEST | flags, Header.FLAGS);
    bytes.writeUInt32LE(this.#sequence, Header.SEQUENCE);
    return libc!.send(this.#fd, address, BigInt(length), MSG_DONTWAIT) === BigInt(length);
  }
}
