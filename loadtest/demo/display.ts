/** What the demo shows: one line that lives on a terminal, plain lines elsewhere, a summary at the end. */

import type { WriteStream } from 'node:tty';
import type { Totals } from '../counters.ts';
import type { Ledger } from './ledger.ts';

/** Without a terminal, a line this often, ms. */
const PLAIN_EVERY_MS = 2_000;

export class Display {
  readonly #out: WriteStream;
  readonly #started = performance.now();
  #lastProbes = 0;
  #lastAt = performance.now();
  #rate = 0;
  #plainAt = Number.NEGATIVE_INFINITY;
  #phase = '';

  constructor(out: WriteStream) {
    this.#out = out;
  }

  say(text: string): void {
    this.#out.write(`${text}\n`);
  }

  update(phase: string, totals: Totals, ledger: Ledger): void {
    const now = performance.now();
    if (now - this.#lastAt > 400) {
      this.#rate = ((totals.probesSent - this.#lastProbes) / (now - this.#lastAt)) * 1_000;
      this.#lastProbes = totals.probesSent;
      this.#lastAt = now;
    }
    const late = ledger.latenesses().at(-1);
    const line = [
      `${((now - this.#started) / 1_000).toFixed(1).padStart(5)} s  ${phase.padEnd(26)}`,
      `alive ${totals.alive}  probing ${totals.probing}  blocked ${totals.blocked}  dead ${totals.dead}`,
      `${Math.round(this.#rate)} probes/s`,
      `verdicts ${ledger.received}/${ledger.expected}${late === undefined ? '' : `, at most ${Math.round(late)} ms late`}`,
      `failovers ${ledger.failovers}`,
    ].join('  |  ');
    if (this.#out.isTTY) this.#out.write(`\r\x1b[K${line}`);
    else if (phase !== this.#phase || now - this.#plainAt > PLAIN_EVERY_MS) {
      this.#out.write(`${line}\n`);
      this.#plainAt = now;
    }
    this.#phase = phase;
  }

  summary(report: Record<string, unknown> & ReturnType<Ledger['report']>): void {
    if (this.#out.isTTY) this.#out.write('\n');
    const { lateness_ms: late } = report;
    this.#out.write(
      [
        '',
        `  spokes            ${report['spokes']}, killed ${report.expected}`,
        `  verdicts          ${report.verdicts}, false ${report.false_verdicts}, missed ${report.missed}`,
        `  lateness          p50 ${late.p50} ms, p99 ${late.p99} ms, max ${late.max} ms after the earliest moment`,
        `  failovers         ${report['failovers']}`,
        `  probes            ${report['probes_sent']} sent, ${report['probes_answered']} answered, ${report['probes_suppressed']} spared by traffic`,
        `  node              ${report['node_cpu_s']} s CPU, ${Math.round((report['node_rss_bytes'] as number) / 2 ** 20)} MiB`,
        '',
        '',
      ].join('\n'),
    );
  }
}
