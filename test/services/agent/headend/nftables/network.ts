/** Runs a command in a network namespace that is gone afterwards. */

import { execFileSync } from 'node:child_process';
import { skipUnless } from '../../../../requirements.ts';

const COMMAND_MS = 10_000;

/** Returns what it prints. @param script for sh; @param input on its standard input */
export function inNewNetwork(script: string, input: string): string {
  return execFileSync('unshare', ['-n', 'sh', '-c', script], { input, encoding: 'utf8', timeout: COMMAND_MS });
}
/** Why it cannot be done here, as node:test's `skip`. */
inNewNetwork.skip = skipUnless({ nftables: ['/usr/sbin/nft'], iproute2: ['/usr/sbin/ip'] }, { root: true });
