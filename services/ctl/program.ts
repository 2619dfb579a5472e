/** The command line: its options, its commands, and completion for shells. */

import tab from '@bomb.sh/tab/commander';
import { Command } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { addClear } from './commands/clear.ts';
import { addDebug } from './commands/debug.ts';
import { addDrain } from './commands/drain.ts';
import { addHolds } from './commands/holds.ts';
import { addLeftOut } from './commands/left-out.ts';
import { addLetters } from './commands/letters.ts';
import { addNodes } from './commands/nodes.ts';
import { addPeer } from './commands/peer.ts';
import { addPeers } from './commands/peers.ts';
import { addPolicy } from './commands/policy.ts';
import { addShards } from './commands/shards.ts';
import { addStatus } from './commands/status.ts';
import { addWatch } from './commands/watch.ts';
import { addConnectionOptions } from './settings.ts';

/** Throws CommanderError instead of ending the process. */
export function buildProgram(): Command {
  const program = new Command('dpdctl')
    .description('Dead Peer Detection of a cluster: what it sees, and what to do about it')
    .version(packageJson.version)
    .option('--json', 'one JSON object a line')
    .option('--no-color', 'no colours; also NO_COLOR')
    .showHelpAfterError('dpdctl --help lists the commands')
    .exitOverride();
  addConnectionOptions(program);
  for (const add of [
    addStatus,
    addNodes,
    addShards,
    addPeers,
    addPeer,
    addWatch,
    addDebug,
    addClear,
    addHolds,
    addLetters,
    addLeftOut,
    addPolicy,
    addDrain,
  ])
    add(program);
  for (const command of program.commands) command.copyInheritedSettings(program);
  tab(program);
  return program;
}
