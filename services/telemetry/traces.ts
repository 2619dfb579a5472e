/**
 * Traces: one per suspicion, from its first unanswered probe to the acknowledged verdict. Healthy peers make no spans.
 */

import { context, propagation, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';

const TRACER = 'dpd-offload';
/** Maximum number of suspicions that wait for an acknowledgement; the oldest is ended first. */
const MAX_OPEN = 10_000;
/** Longest wait for an acknowledgement, ms. */
const MAX_OPEN_MS = 10 * 60_000;

/** Whether spans are exported: if not, none are made. */
let tracing = false;

/** Switches the spans of suspicions on or off. */
export function traceSuspicions(on: boolean): void {
  tracing = on;
}

/** One suspicion's facts. Times in Unix ms. */
export type SuspicionFacts = {
  readonly headend: string;
  readonly shard: number;
  readonly peerId: string;
  readonly sa: string;
  readonly firstProbeUnix: number;
  readonly attempts: number;
};

/** Spans of suspicions that became verdicts, until each is acknowledged. */
export class SuspicionTraces {
  readonly #open = new Map<string, { span: Span; since: number }>();

  /** A suspicion that an answer ended: a span of its own, at once. */
  recovered(facts: () => SuspicionFacts): void {
    if (!tracing) return;
    const span = startSuspicion(facts());
    span.setAttribute('dpd.outcome', 'answered');
    span.end();
  }

  /** A suspicion that became a verdict. Returns the trace context to carry in it, empty when tracing is off. */
  verdict(facts: () => SuspicionFacts, verdictId: string): string {
    if (!tracing) return '';
    const span = startSuspicion(facts());
    if (!span.isRecording()) return '';
    span.setAttribute('dpd.outcome', 'verdict').setAttribute('dpd.verdict.id', verdictId).addEvent('verdict');
    this.#expire();
    this.#open.set(verdictId, { span, since: Date.now() });
    return traceparentOf(span);
  }

  /** The verdict is in the log. */
  logged(verdictId: string): void {
    if (!tracing) return;
    this.#open.get(verdictId)?.span.addEvent('logged');
  }

  /** False if the verdict's trace is not here. */
  acknowledged(verdictId: string, outcome: string): boolean {
    if (!tracing) return true;
    const entry = this.#open.get(verdictId);
    if (!entry) return false;
    entry.span.setAttribute('dpd.ack.outcome', outcome).addEvent('acknowledged');
    entry.span.end();
    this.#open.delete(verdictId);
    return true;
  }

  #expire(): void {
    for (const [id, { span, since }] of this.#open) {
      if (this.#open.size < MAX_OPEN && Date.now() - since < MAX_OPEN_MS) return;
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'not acknowledged' });
      span.end();
      this.#open.delete(id);
    }
  }
}

function startSuspicion(facts: SuspicionFacts): Span {
  return trace.getTracer(TRACER).startSpan(
    'dpd.suspicion',
    {
      startTime: facts.firstProbeUnix,
      kind: SpanKind.PRODUCER,
      attributes: {
        'dpd.headend': facts.headend,
        'dpd.shard': facts.shard,
        'dpd.peer.id': facts.peerId,
        'dpd.sa': facts.sa,
        'dpd.probes': facts.attempts,
      },
    },
    ROOT_CONTEXT,
  );
}

/** Runs an action as a span under the context that a verdict carries. */
export async function inSpan<T>(name: string, traceparent: string, run: (span: Span) => Promise<T>): Promise<T> {
  const parent = traceparent === '' ? context.active() : propagation.extract(ROOT_CONTEXT, { traceparent });
  const span = trace.getTracer(TRACER).startSpan(name, { kind: SpanKind.CONSUMER }, parent);
  try {
    return await context.with(trace.setSpan(parent, span), () => run(span));
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: (error as Error).message });
    throw error;
  } finally {
    span.end();
  }
}

function traceparentOf(span: Span): string {
  const carrier: Record<string, string> = {};
  propagation.inject(trace.setSpan(ROOT_CONTEXT, span), carrier);
  return carrier['traceparent'] ?? '';
}
