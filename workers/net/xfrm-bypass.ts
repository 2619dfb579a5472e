/**
 * Exempts sockets from IPsec. With selectors from host to host, all packets between hub and spoke belong in the tunnel, and packets
 * outside it are dropped. IKE is exempt because charon's sockets have policies of their own (IP_XFRM_POLICY), so ours need the same.
 */

import { FAMILY_NUMBER } from '../base/address.ts';
import { nativeFunctions, nativeMemory } from '../base/ffi.ts';

const libc = nativeFunctions({
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  close: { return: 'int32', arguments: ['int32'] },
  setsockopt: { return: 'int32', arguments: ['int32', 'int32', 'int32', 'pointer', 'uint32'] },
});

/** Level and option, by family. */
const V4 = { family: FAMILY_NUMBER[4], level: 0, option: 17 } as const;
const V6 = { family: FAMILY_NUMBER[6], level: 41, option: 35 } as const;
/** struct xfrm_userpolicy_info; its action is 0: allow, and what is not named here is 0 as well: any. */
export const UserPolicy = { LENGTH: 168, FAMILY: 40, PRIORITY: 152, DIRECTION: 160 } as const;
const DIRECTIONS = [0, 1];
/** Opening this socket loads the kernel's xfrm_user; without that the kernel refuses policies. */
const XFRM_SOCKET = { family: 16, type: 3, protocol: 6 } as const;

/**
 * Exempts a UDP socket from IPsec policies, in and out.
 * @param ipv6 whether it is one of IPv6
 * @returns whether that was done; if not, the kernel knows no IPsec, or we may not (CAP_NET_ADMIN)
 */
export function bypassPolicy(fd: number, { ipv6 }: { ipv6: boolean }): boolean {
  if (!libc) return false;
  const loading = libc.socket(XFRM_SOCKET.family, XFRM_SOCKET.type, XFRM_SOCKET.protocol);
  if (loading >= 0) libc.close(loading);
  const { family, level, option } = ipv6 ? V6 : V4;
  const { bytes, address } = nativeMemory(UserPolicy.LENGTH);
  bytes.writeUInt16LE(family, UserPolicy.FAMILY);
  return DIRECTIONS.every((direction) => {
    bytes[UserPolicy.DIRECTION] = direction;
    return libc.setsockopt(fd, level, option, address, bytes.length) === 0;
  });
}
