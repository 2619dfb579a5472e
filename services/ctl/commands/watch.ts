/** `dpdctl watch`: verdicts and numbers of peers by state, live. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { DeadReason, type Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService, type WatchVerdictsResponse } from '../../../proto/gen/dpd/v1/verdicts_pb.js';
import { spiHex } from '../../api/spi.ts';
import type { Cluster } from '../cluster.ts';
import { fromService } from '../exit.ts';
import type { Output } from '../output/output.ts';
import { duration, moment } from '../output/text.ts';
import { run, type Session } from '../session.ts';

/** How often peers are counted, ms. */
const COUNT_MS = 1_000;
const STATES = ['alive', 'probing', 'quiet', 'blocked', 'unproven', 'held', 'dead'] as const;

type WatchOptions = { readonly headend?: string; readonly past?: boolean };

export function addWatch(program: Command): void {
  program
    .command('watch')
    .description('verdicts, and numbers of peers by state, live')
    .option('-H, --headend <name>', 'only of this headend')
    .option('--past', 'first all verdicts that are still in the log')
    .action(run((session, options: WatchOptions) => watch(session, options)));
}

async function watch(session: Session, { headend, past = false }: WatchOptions): Promise<void> {
  const { cluster, out, signal } = session;
  const headends = headend === undefined ? await cluster.headends() : [headend];
  const [node] = await cluster.nodes();
  const streams = headends.map((of) =>
    node!.watch(VerdictService.method.watchVerdicts, { headend: of, resumeToken: past ? '' : 'now' }),
  );
  const stop = () => {
    for (const stream of streams) stream.cancel();
  };
  signal.addEventListener('abort', stop);
  try {
    await Promise.race([
      ...streams.map((stream) => verdictsOf(out, stream, node!.id, signal)),
      countsOf(cluster, out, signal),
    ]);
  } finally {
    stop();
  }
}

async function verdictsOf(
  out: Output,
  stream: ClientReadableStream<WatchVerdictsResponse>,
  node: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const { verdicts } of stream as AsyncIterable<WatchVerdictsResponse>)
      for (const verdict of verdicts) await show(out, verdict);
  } catch (error) {
    if (!signal.aborted) throw fromService(error as ServiceError, node);
  }
}

async function show(out: Output, verdict: Verdict): Promise<void> {
  const { headend, shard, peerId, id, sa, reason, history, attempt } = verdict;
  const { decidedUnixMs, lastEvidenceUnixMs, probesSent, guards } = history!;
  const silentMs = Number(decidedUnixMs - lastEvidenceUnixMs);
  const why = DeadReason[reason] ?? String(reason);
  if (out.json)
    return out.object({
      type: 'verdict',
      at: moment(decidedUnixMs),
      headend,
      shard,
      peer: peerId,
      sa: spiHex(sa!),
      verdict: id,
      attempt,
      reason: why,
      silentMs,
      probesSent,
      guards: guards.map(({ reason: text, ms }) => ({ reason: text, ms: Number(ms) })),
    });
  const held = guards.map(({ reason: text, ms }) => `; ${text} (${duration(Number(ms))})`).join('');
  await out.line(
    `${moment(decidedUnixMs)}  ${headend}/${shard}  ${peerId}  ${why}: silent for ${duration(silentMs)}, ${probesSent} probes${held}`,
    'red',
  );
}

/** Tells of each change. */
async function countsOf(cluster: Cluster, out: Output, signal: AbortSignal): Promise<void> {
  let before = '';
  while (!signal.aborted) {
    const nodes = (await cluster.nodes()).map((node) => ({ node }));
    const answers = await cluster.each(nodes, ({ node }) => node.ask(OperatorService.method.getCounters, {}));
    const shards = answers.flatMap((answer) => answer.shards);
    const states = STATES.map((name) => [name, shards.reduce((sum, shard) => sum + shard[name], 0)] as const);
    const now = states.map(([name, value]) => `${name} ${value}`).join(', ');
    const at = moment(Date.now());
    if (now !== before && out.json) await out.object({ type: 'states', at, ...Object.fromEntries(states) });
    else if (now !== before) await out.line(`${at}  ${now}`, 'grey');
    before = now;
    await sleep(COUNT_MS, undefined, { signal }).catch(() => {});
  }
}
