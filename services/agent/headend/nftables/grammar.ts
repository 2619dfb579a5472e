/**
 * Checks values before they go into the text of the rules: nft runs as root, and executes any text that it is given.
 */

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { SteeringError } from '../../../../workers/base/errors.ts';
import { IKE_PORT, NAT_T_PORT } from '../../../../workers/ikev2/header.ts';
import { isWhole } from '../../../base/shape.ts';
import { parseEnd } from './end.ts';
import type { RuleSet } from './rules.ts';

/** An interface's name (the kernel's dev_valid_name), of characters that a quoted text of nft's takes. */
export const INTERFACE = /^[A-Za-z0-9_.@:+-]{1,15}$/;

/** Throws SteeringError that names what cannot stand in rules. */
export function checkGrammar({ steering, probes, ways }: Omit<RuleSet, 'care'>): void {
  if (steering.kind === 'remote') {
    expect(INTERFACE.test(steering.nodeInterface), 'interface', steering.nodeInterface);
    expect(isIPv4(steering.nodeAddress), 'IPv4 address of a node', steering.nodeAddress);
    expect(
      steering.nodeAddress6 === '' || isPlainV6(steering.nodeAddress6),
      'IPv6 address of a node',
      steering.nodeAddress6,
    );
  }
  for (const { address, address6, port } of probes) {
    expect(address === '' || isIPv4(address), 'IPv4 address of a node', address);
    expect(address6 === '' || isPlainV6(address6), 'IPv6 address of a node', address6);
    expect(isWhole(port, 1, 65_535), 'port of a shard', String(port));
  }
  // A number that a former agent had omitted stands for no end.
  for (const way of ways) if (way !== '') checkEnd(way);
}

/** Throws SteeringError if it names no end of the hub. */
function checkEnd(name: string): void {
  const { address, port } = parseEnd(name);
  const isAddress = isIP(address) > 0 && !address.includes('%');
  expect(
    isAddress && (port === NAT_T_PORT || port === IKE_PORT) && name.split(' ').length <= 2,
    "end of the hub's",
    name,
  );
}

function isPlainV6(address: string): boolean {
  return isIPv6(address) && !address.includes('%');
}

function expect(holds: boolean, what: string, value: string): void {
  if (!holds) throw new SteeringError(`rules cannot name ${JSON.stringify(value.slice(0, 80))}: it is no ${what}`);
}
