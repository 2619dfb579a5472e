/** `dpdctl drain` and `undrain`: a node gives its shards away, or takes some again. */

import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { CtlError, Exit } from '../exit.ts';
import { count } from '../output/text.ts';
import { run, type Session } from '../session.ts';

export function addDrain(program: Command): void {
  const add = (name: string, what: string, draining: boolean) =>
    program
      .command(name)
      .description(what)
      .argument('<node>', 'its id, as nodes lists it')
      .action(run((session, _options, [node]) => setDraining(session, node!, draining)));
  add('drain', 'have a node give its shards away and take none', true);
  add('undrain', 'have a node take shards again', false);
}

async function setDraining({ cluster, out }: Session, id: string, draining: boolean): Promise<void> {
  const nodes = await cluster.nodes();
  const node = nodes.find((each) => each.id === id);
  if (!node)
    throw new CtlError(Exit.NOT_FOUND, `no node "${id}" lives; there are ${nodes.map((each) => each.id).join(', ')}`);
  const { shards } = await node.ask(OperatorService.method.setDraining, { draining });
  if (out.json) await out.object({ node: id, draining, shards });
  else if (!draining) await out.line(`${id} takes shards again`);
  else
    await out.line(
      `${id} drains; ${shards === 0 ? 'it has no shards any more' : `${count(shards)} shards are still there`}`,
    );
}
