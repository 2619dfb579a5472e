/**
 * Functions of the C library and of the OpenSSL inside Node, called without a compiled addon: node:ffi is experimental, but Node's
 * version is pinned. Where it is missing (`--no-experimental-ffi`) or the memory layouts are others than written here, there is
 * nothing, and whoever asks goes Node's own, slower way.
 */

import type { FunctionDefinitions, WrappedFunctionsFromDefinitions } from 'node:ffi';

/** Layouts of structures are those of 64-bit little-endian Linux. */
const KNOWN = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch);
const ffi = KNOWN ? quietly(() => process.getBuiltinModule('node:ffi')) : undefined;

/** The named functions of this process, or undefined if it has not all of them. */
export function nativeFunctions<T extends FunctionDefinitions>(
  definitions: T,
): WrappedFunctionsFromDefinitions<T> | undefined {
  try {
    return ffi?.dlopen(null, definitions).functions;
  } catch {
    return undefined;
  }
}

/** Memory that native functions are told the address of. It does not move, and is there for as long as it is held here. */
export type NativeMemory = { readonly bytes: Buffer; readonly address: bigint };

export function nativeMemory(length: number): NativeMemory {
  const bytes = Buffer.from(new ArrayBuffer(length));
  return { bytes, address: ffi!.getRawPointer(bytes) };
}

/** A part of memory, which holds the whole. */
export function partOf({ bytes, address }: NativeMemory, start: number, end = bytes.length): NativeMemory {
  return { bytes: bytes.subarray(start, end), address: address + BigInt(start) };
}

/** The 32-bit number at an address, as it is whenever it is read. */
export function numberAt(address: bigint): Int32Array {
  return new Int32Array(ffi!.toArrayBuffer(address, Int32Array.BYTES_PER_ELEMENT, false));
}

/** Without the warning that a module is experimental: the reader of this file knows, the user of a node cannot do anything about it. */
function quietly<T>(load: () => T): T | undefined {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return load();
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}
