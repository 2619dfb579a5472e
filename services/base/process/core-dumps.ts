/** No copy of a process's memory, which has keys in it, gets onto a disk: neither as a core dump nor by a debugger. */

import { nativeFunctions, nativeMemory } from '../../../workers/base/ffi.ts';

/** Of sys/resource.h and linux/prctl.h. */
const RLIMIT_CORE = 4;
const PR_SET_DUMPABLE = 4;

const libc = nativeFunctions({
  setrlimit: { return: 'int32', arguments: ['int32', 'pointer'] },
  prctl: { return: 'int32', arguments: ['int32', 'uint64', 'uint64', 'uint64', 'uint64'] },
});

/**
 * Forbids core dumps, and other processes of the same user to read the memory. Both are needed: a core dump that goes to a program is
 * made whatever the limit says (core(5)). Returns whether it could be done.
 */
export function forbidCoreDumps(): boolean {
  if (!libc) return false;
  // struct rlimit: two numbers of 64 bits, both 0. Held until the call has returned.
  const none = nativeMemory(16);
  const limited = libc.setrlimit(RLIMIT_CORE, none.address) === 0 && none.bytes.length > 0;
  return libc.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n) === 0 && limited;
}
