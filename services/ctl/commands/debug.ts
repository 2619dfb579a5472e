/** `dpdctl debug PEER`: each event of one peer as it happens. */

import type { ServiceError } from '@grpc/grpc-js';
import type { Command } from 'commander';
import { OperatorService, PeerEventKind, type WatchPeerResponse } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { CtlError, Exit, fromService } from '../exit.ts';
import type { Output } from '../output/output.ts';
import type { Colour } from '../output/text.ts';
import { run, type Session } from '../session.ts';
import { eventRow, findPeer } from './peer.ts';

const COLOURS: Readonly<Record<string, Colour>> = {
  [PeerEventKind[PeerEventKind.ANSWERED]]: 'green',
  [PeerEventKind[PeerEventKind.RECOVERED]]: 'green',
  [PeerEventKind[PeerEventKind.BLOCKED]]: 'yellow',
  [PeerEventKind[PeerEventKind.HELD]]: 'yellow',
  [PeerEventKind[PeerEventKind.DEAD]]: 'red',
};

export function addDebug(program: Command): void {
  program
    .command('debug')
    .description('each event of one peer as it happens: asked, answered, blocked and why, judged, applied')
    .argument('<peer>', 'its IKE identity')
    .option('-H, --headend <name>', 'only of this headend')
    .action(
      run(async (session, { headend = '' }: { headend?: string }, [id]) => {
        await debug(session, headend, id!);
      }),
    );
}

async function debug({ cluster, out, signal }: Session, headend: string, peerId: string): Promise<void> {
  const found = await findPeer(cluster, headend, peerId);
  if (found.length === 0) throw new CtlError(Exit.NOT_FOUND, `peer "${peerId}" is on no node`);
  const places = new Map(found.map(({ node, peer }) => [`${node.id} ${peer.headend}`, { node, of: peer.headend }]));
  const streams = [...places.values()].map(({ node, of }) => ({
    node,
    stream: node.watch(OperatorService.method.watchPeer, { headend: of, peerId }),
  }));
  const stop = () => {
    for (const { stream } of streams) stream.cancel();
  };
  signal.addEventListener('abort', stop);
  try {
    await Promise.all(
      streams.map(async ({ node, stream }) => {
        try {
          for await (const response of stream as AsyncIterable<WatchPeerResponse>) await show(out, response);
        } catch (error) {
          if (!signal.aborted) throw fromService(error as ServiceError, node.id);
        }
      }),
    );
  } finally {
    stop();
  }
}

async function show(out: Output, { events, lost }: WatchPeerResponse): Promise<void> {
  for (const event of events) {
    const row = eventRow(event);
    if (out.json) await out.object(row);
    else await out.line(`${row.at}  ${row.kind.padEnd(10)}  ${row.detail}`, COLOURS[row.kind]);
  }
  if (lost > 0) process.stderr.write(`dpdctl: ${lost} events were lost: this terminal is too slow\n`);
}
