/**
 * Functions of the C library and of the OpenSSL inside Node, called without a compiled addon: node:ffi is experimental, but Node's
 * version is pinned. If it is missing (`--no-experimental-ffi`) or the memory layouts differ from those here, these functions
 * return undefined, and callers use Node's own, slower way.
 */

import type { FunctionDefinitions, WrappedFunctionsFromDefinitions } from 'node:ffi';

/** Layouts of structures are those of 64-bit little-endian Linux. */
const KNOWN = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch);
const ffi = KNOWN ? quietly(() => process.getBuiltinModule('node:ffi')) : undefined;

/** The named functions of this process, or undefined if one of them is missing. */
export function nativeFunctions<T extends FunctionDefinitions>(
  definitions: T,
): WrappedFunctionsFromDefinitions<T> | undefined {
  try {
    return ffi?.dlopen(null, definitions).functions;
  } catch {
    return undefined;
  }
}

/** Memory whose address is given to native functions. It does not move, and lives as long as it is referenced here. */
export type NativeMemory = { readonly bytes: Buffer; readonly address: bigint };

export function nativeMemory(length: number): NativeMemory {
  const bytes = Buffer.from(new ArrayBuffer(length));
  return { bytes, address: ffi!.getRawPointer(bytes) };
}

/** A part of memory, which holds the whole. */
export function partOf({ bytes, address }: NativeMemory, start: number, end = bytes.length): NativeMemory {
  return { bytes: bytes.subarray(start, end), address: address + BigInt(start) };
}

/** The 32-bit number at an address, read again at each call. */
export function numberAt(address: bigint): Int32Array {
  return new Int32Array(ffi!.toArrayBuffer(address, Int32Array.BYTES_PER_ELEMENT, false));
}

/** Suppresses the warning that the module is experimental: readers of this file know it, and users of a node cannot change it. */
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
