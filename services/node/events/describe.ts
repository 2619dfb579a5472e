/** Events of peers in words. */

import { Action, Outcome, type Verdict, type VerdictAck } from '../../../proto/gen/dpd/v1/types_pb.js';
import { Traced } from '../../../workers/liveness/traced.ts';
import type { Recovery, TracedEvent } from '../../../workers/shard/protocol.ts';

/** Why a peer was declared dead, what the guards did, and what is to be done. */
export function describeVerdict(verdict: Verdict): string {
  const { lastEvidenceUnixMs, decidedUnixMs, earliestUnixMs, probesSent, guards } = verdict.history!;
  const silent = seconds(Number(decidedUnixMs - lastEvidenceUnixMs));
  const late = Math.max(0, Number(decidedUnixMs - earliestUnixMs));
  return [
    `${probesSent} probes unanswered; last heard ${silent} before, judged ${late} ms after the earliest moment`,
    ...guards.map(({ reason, ms }) => `guard, ${seconds(Number(ms))}: ${reason}`),
    describeAction(verdict),
  ].join('; ');
}

/** What the data plane is to do. */
function describeAction({ action, observed, endpoints, deadEndpoint, nextEndpoint }: Verdict): string {
  const { address = '', connection = '' } = endpoints[nextEndpoint] ?? {};
  const next = `${address}${connection === '' ? '' : ` (${connection})`}`;
  switch (action) {
    case Action.NOTIFY:
      return observed === Action.UNSPECIFIED ? 'only told: the SA stays' : `observed: ${Action[observed]} is not done`;
    case Action.RESTART:
      return `the same endpoint again: ${next}`;
    case Action.TRAP:
      return 'SA to be deleted, its trap policy stays';
    case Action.FAILOVER:
      return nextEndpoint === deadEndpoint ? 'SA to be deleted' : `next endpoint ${next}`;
    default:
      return 'SA to be deleted';
  }
}

/** What a data-plane node did about a verdict. */
export function describeAnswer({ outcome, attempt, detail }: VerdictAck): string {
  const what = `${attempt > 0 ? `attempt ${attempt + 1}: ` : ''}${Outcome[outcome]}`;
  return detail === '' ? what : `${what}: ${detail}`;
}

export function describeRecovery({ attempts, wasDead }: Recovery): string {
  return `${wasDead ? 'lives, although it was declared dead' : 'lives'}; ${attempts} probes had been sent`;
}

/** What a thread tells of a peer that someone looks at. */
export function describeTraced({ event, value, why }: TracedEvent): string {
  switch (event) {
    case Traced.ASKED:
      return value === 0 ? 'asked, outside a suspicion' : `asked, probe ${value} of this suspicion`;
    case Traced.ANSWERED:
      return `answered in ${value.toFixed(1)} ms`;
    case Traced.SUPPRESSED:
      return `not asked: heard from ${seconds(value)} ago`;
    case Traced.BLOCKED:
      return `probe may not leave: ${why}`;
    case Traced.BLIND:
      return `${Math.round(value)} ms given back: answers could not be seen`;
    case Traced.UNPROVEN:
      return `silent after ${value} probes, but not judged: it has never answered here`;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
