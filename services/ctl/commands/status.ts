/** `dpdctl status`: is everything well? Exit code 7 if someone is needed. */

import type { Command } from 'commander';
import { OperatorService, type ShardCounters } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { Exit } from '../exit.ts';
import { count } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

/** Peers by state, in the order in which people want to know. */
const STATES = ['alive', 'probing', 'quiet', 'blocked', 'unproven', 'held', 'dead', 'unwatched'] as const;

export function addStatus(program: Command): void {
  withWatch(program.command('status').description('is everything well?')).action(
    run(async ({ cluster, out }) => {
      const state = await cluster.state();
      const nodes = (await cluster.nodes(state)).map((node) => ({ node }));
      const answers = await cluster.each(nodes, ({ node }) => node.ask(OperatorService.method.getCounters, {}));
      const shards = answers.flatMap((answer) => answer.shards);
      const sum = (name: (typeof STATES)[number] | 'peers' | 'verdictsHeldNow' | 'verdictsWaiting' | 'leftOut') =>
        shards.reduce((total, shard) => total + shard[name], 0);
      const peers = Object.fromEntries(STATES.map((name) => [name, sum(name)]));
      const ownerless = state.shards.filter(({ leaseValid }) => !leaseValid).length;
      const attention = [
        ...(state.redisConnected ? [] : ['Redis does not answer']),
        ...(ownerless > 0 && state.redisConnected ? [`${ownerless} shards have no owner`] : []),
        ...[...cluster.unreached.keys()].map((id) => `node ${id} does not answer`),
        ...unvouched(shards),
        ...said(sum('held'), 'verdicts are held back: see holds'),
        ...said(sum('verdictsWaiting'), 'verdicts wait for Redis'),
        ...said(sum('blocked'), 'peers cannot be asked: see peers --state blocked'),
        ...said(sum('leftOut'), 'SAs are not watched: see left-out'),
      ];
      if (attention.length > 0) process.exitCode = Exit.ATTENTION;
      // It is said above.
      cluster.unreached.clear();
      const whole = {
        well: attention.length === 0,
        nodes: state.members.length,
        shards: state.shards.length,
        peers: sum('peers'),
        states: peers,
        attention,
      };
      if (out.json) return out.object(whole);
      await out.line(
        attention.length === 0 ? 'all is well' : 'someone is needed',
        attention.length === 0 ? 'green' : 'red',
      );
      for (const each of attention) await out.line(`  ${each}`, 'yellow');
      await out.line(`${count(whole.nodes)} nodes, ${count(whole.shards)} shards, ${count(whole.peers)} peers`);
      for (const [name, value] of Object.entries(peers))
        if (value > 0) await out.line(`  ${name.padEnd(10)} ${count(value)}`);
    }),
  );
}

function said(value: number, what: string): string[] {
  return value > 0 ? [`${count(value)} ${what}`] : [];
}

/** Shards with peers whose path is not proven. */
function unvouched(shards: readonly ShardCounters[]): string[] {
  return shards
    .filter(({ peers, unwatched, pathVouched }) => peers > unwatched && !pathVouched)
    .map(({ headend, shard }) => `path of ${headend}/${shard} is not proven: no probe may leave`);
}
