/** UDP sockets of the C library, by number. They belong to whoever opened them, not to a thread: a thread's end closes none. */

import { getSystemErrorMap } from 'node:util';
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
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;

/** Where things are in a sockaddr_in. Family in the machine's order, the rest in the network's. */
export const SockAddr = { LENGTH: 16, FAMILY: 0, PORT: 2, ADDRESS: 4 } as const;

export function writeSockAddr(bytes: Buffer, at: number, address: number, port: number): void {
  bytes.writeUInt16LE(AF_INET, at + SockAddr.FAMILY);
  bytes.writeUInt16BE(port, at + SockAddr.PORT);
  bytes.writeUInt32BE(address, at + SockAddr.ADDRESS);
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
 * @param address IPv4, as a number; port 0: any
 * @param bufferBytes wanted of the kernel each way
 */
export function openSocket(address: number, port: number, bufferBytes: number): OpenSocket | undefined {
  if (!libc) return undefined;
  const { bind, setsockopt, getsockname, close } = libc;
  const fd = checked('socket', libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  try {
    const name = nativeMemory(SockAddr.LENGTH);
    const number = nativeMemory(Int32Array.BYTES_PER_ELEMENT);
    writeSockAddr(name.bytes, 0, address, port);
    checked('bind', bind(fd, name.address, SockAddr.LENGTH));
    number.bytes.writeInt32LE(bufferBytes);
    for (const option of [SO_RCVBUF, SO_SNDBUF])
      checked('setsockopt', setsockopt(fd, SOL_SOCKET, option, number.address, number.bytes.length));
    number.bytes.writeInt32LE(SockAddr.LENGTH);
    checked('getsockname', getsockname(fd, name.address, number.address));
    let open = true;
    return {
      fd,
      port: name.bytes.readUInt16BE(SockAddr.PORT),
      close() {
        // Its number may be another's by now.
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
