/**
 * Exempts packets between nodes beside the hub and spokes from the hub's IPsec policies. A tunnel's selectors may contain a node's
 * address, for example 0.0.0.0/0: then its probes would leave inside the tunnel, and answers, which come outside of it, would be dropped.
 */

import { Address, FAMILY_NUMBER } from '../../../../workers/base/address.ts';
import { SteeringError } from '../../../../workers/base/errors.ts';
import { UserPolicy } from '../../../../workers/net/xfrm-bypass.ts';
import { NetlinkSocket } from './netlink.ts';
import { NETLINK_XFRM } from './xfrm-sas.ts';

const XFRM_MSG_DELPOLICY = 20;
/** Adds a policy, or replaces one with the same selector. */
const XFRM_MSG_UPDPOLICY = 25;
/** struct xfrm_userpolicy_id. */
const PolicyId = { LENGTH: 64, DIRECTION: 60 } as const;
/** struct xfrm_selector, which begins both. All other fields are 0: any. */
const Selector = {
  DESTINATION: 0,
  SOURCE: 16,
  DESTINATION_PORT: 32,
  SOURCE_PORT: 36,
  FAMILY: UserPolicy.FAMILY,
  DESTINATION_PREFIX: 42,
  SOURCE_PREFIX: 43,
  PROTOCOL: 44,
} as const;
/** Length of an address, bits, by version of IP. */
const BITS = { 4: 32, 6: 128 } as const;
const UDP = 17;
/** Directions for forwarded packets: the way out, and the check of their source. */
const OUT = 1;
const FORWARD = 2;
/** The lowest priority comes first. */
const FIRST = 1;

/** A node's address, and a port that it probes from. */
export type Exempt = { readonly address: string; readonly port: number };

export class Exemptions {
  readonly #socket: NetlinkSocket;
  /** Policies in the kernel, by address and port. */
  readonly #standing = new Map<string, Exempt>();

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** In the network namespace where this thread is. Undefined where the kernel has no IPsec to be exempt from. */
  static open(): Exemptions | undefined {
    const socket = NetlinkSocket.open(NETLINK_XFRM);
    return socket && new Exemptions(socket);
  }

  /** Exempts these, and removes earlier exemptions. Throws SteeringError if the kernel refuses. */
  set(wanted: readonly Exempt[]): void {
    const names = new Set(wanted.map(nameOf));
    for (const [name, exempt] of this.#standing) {
      if (names.has(name)) continue;
      // Another program may have removed it.
      for (const direction of [OUT, FORWARD]) this.#socket.tell(XFRM_MSG_DELPOLICY, policyId(exempt, direction));
      this.#standing.delete(name);
    }
    for (const exempt of wanted) {
      for (const direction of [OUT, FORWARD]) {
        const error = this.#socket.tell(XFRM_MSG_UPDPOLICY, policy(exempt, direction));
        if (error !== 0) throw new SteeringError(`the kernel refused to exempt ${nameOf(exempt)}: error ${error}`);
      }
      this.#standing.set(nameOf(exempt), exempt);
    }
  }

  close(): void {
    this.#socket.close();
  }
}

function nameOf({ address, port }: Exempt): string {
  return `${address} ${port}`;
}

function policy(exempt: Exempt, direction: number): Buffer {
  const bytes = Buffer.alloc(UserPolicy.LENGTH);
  writeSelector(bytes, exempt, direction);
  bytes.writeUInt32LE(FIRST, UserPolicy.PRIORITY);
  bytes[UserPolicy.DIRECTION] = direction;
  return bytes;
}

function policyId(exempt: Exempt, direction: number): Buffer {
  const bytes = Buffer.alloc(PolicyId.LENGTH);
  writeSelector(bytes, exempt, direction);
  bytes[PolicyId.DIRECTION] = direction;
  return bytes;
}

/** From the node's port to anybody, or from anybody to there. */
function writeSelector(bytes: Buffer, { address, port }: Exempt, direction: number): void {
  const [at, portAt, prefixAt] =
    direction === OUT
      ? [Selector.SOURCE, Selector.SOURCE_PORT, Selector.SOURCE_PREFIX]
      : [Selector.DESTINATION, Selector.DESTINATION_PORT, Selector.DESTINATION_PREFIX];
  const node = Address.of(address);
  const bits = BITS[node.family];
  node.bytes.copy(bytes, at, node.bytes.length - bits / 8);
  bytes[prefixAt] = bits;
  bytes.writeUInt16BE(port, portAt);
  bytes.writeUInt16BE(0xffff, portAt + 2);
  bytes.writeUInt16LE(FAMILY_NUMBER[node.family], Selector.FAMILY);
  bytes[Selector.PROTOCOL] = UDP;
}
