/** UDP sockets of the C library, by number. The end of a thread does not close them: the code that opened them must. */

import { getSystemErrorMap } from 'node:util';
import { type Address, FAMILY_NUMBER, type Family } from '../base/address.ts';
import { copy } from '../base/bytes.ts';
import { nativeFunctions, nativeMemory, numberAt } from '../base/ffi.ts';

const libc = nativeFunctions({
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  bind: { return: 'int32', arguments: ['int32', 'pointer', 'uint32'] },
  getsockname: { return: 'int32', arguments: ['int32', 'pointer', 'pointer'] },
  setsockopt: { return: 'int32', arguments: ['int32', 'int32', 'int32', 'pointer', 'uint32'] },
  close: { return: 'int32', arguments: ['int32'] },
  __errno_location: { return: 'pointer', arguments: [] },
});

/** Of asm-generic, as on x86-64 and ARM64. */
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
/** The same for root, which may exceed the system's limit. */
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** Where the port is in a sockaddr of either family, in the network's order; before it, the family in the machine's. */
const PORT_AT = 2;
/** Of a sockaddr_in and a sockaddr_in6: its length, and where the address is. */
export const SockAddr = { 4: { LENGTH: 16, ADDRESS: 4 }, 6: { LENGTH: 28, ADDRESS: 8 } } as const;

export function writeSockAddr(bytes: Buffer, at: number, address: Address, port: number): void {
  const { ADDRESS } = SockAddr[address.family];
  bytes.writeUInt16LE(FAMILY_NUMBER[address.family], at);
  bytes.writeUInt16BE(port, at + PORT_AT);
  if (address.family === 4) bytes.writeUInt32BE(address.v4, at + ADDRESS);
  else copy(address.bytes, 0, bytes, at + ADDRESS, address.bytes.length);
}

/** Reads an address out of a sockaddr of this family. */
export function readSockAddr(bytes: Buffer, at: number, family: Family, address: Address): void {
  const { ADDRESS } = SockAddr[family];
  if (family === 4) {
    address.v4 = bytes.readUInt32BE(at + ADDRESS);
    return;
  }
  address.family = family;
  copy(bytes, at + ADDRESS, address.bytes, 0, address.bytes.length);
}

export function readSockPort(bytes: Buffer, at: number): number {
  return bytes.readUInt16BE(at + PORT_AT);
}

/** errno of this thread's last call that failed; undefined if nothing can be called. */
export const errno = libc && numberAt(libc.__errno_location());

export type OpenSocket = {
  readonly fd: number;
  readonly port: number;
  /** Closes it, once. */
  close(): void;
};

/**
 * Opens a socket that never blocks, or returns undefined if the C library cannot be called.
 * Throws the system's error, with its code, if the address or port cannot be had.
 * @param address of its own family only, even if it is any; port 0: any
 * @param bufferBytes wanted of the kernel each way
 */
export function openSocket(address: Address, port: number, bufferBytes: number): OpenSocket | undefined {
  if (!libc) return undefined;
  const { bind, setsockopt, getsockname, close } = libc;
  const { family } = address;
  const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = checked('socket', libc.socket(FAMILY_NUMBER[family], type, 0));
  try {
    const name = nativeMemory(SockAddr[family].LENGTH);
    const number = nativeMemory(Int32Array.BYTES_PER_ELEMENT);
    const set = (option: number, level = SOL_SOCKET) =>
      setsockopt(fd, level, option, number.address, number.bytes.length);
    number.bytes.writeInt32LE(1);
    if (family === 6) checked('setsockopt', set(IPV6_V6ONLY, IPPROTO_IPV6));
    writeSockAddr(name.bytes, 0, address, port);
    checked('bind', bind(fd, name.address, name.bytes.length));
    number.bytes.writeInt32LE(bufferBytes);
    if (set(SO_RCVBUFFORCE) < 0) checked('setsockopt', set(SO_RCVBUF));
    if (set(SO_SNDBUFFORCE) < 0) checked('setsockopt', set(SO_SNDBUF));
    number.bytes.writeInt32LE(name.bytes.length);
    checked('getsockname', getsockname(fd, name.address, number.address));
    let open = true;
    return {
      fd,
      port: readSockPort(name.bytes, 0),
      close() {
        // The number may belong to another socket by now.
        if (open) close(fd);
        open = false;
      },
    };
  } catch (error) {
    close(fd);
    throw error;
  }
}

function checked(call: string, result: number): number {
  if (result >= 0) return result;
  const [code = 'UNKNOWN', text = ''] = getSystemErrorMap().get(-errno![0]!) ?? [];
  throw Object.assign(new Error(`${call} ${code}: ${text}`), { code, syscall: call });
}
