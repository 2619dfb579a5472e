/** What must hold at every step, whatever happens. The truth is the simulation's own; the cluster never sees it. */

import { Guard, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { detectionMs } from '../../workers/liveness/schedule.ts';
import { VOUCHER_MS } from '../../workers/path/canary.ts';
import type { SimTask } from './sim-task.ts';
import type { TrueSa } from './spokes.ts';
import type { VirtualTime } from './virtual-time.ts';

/** A timer fires at most a tick late, and evidence is stamped a moment after it came, ms. */
const TOLERANCE_MS = 10;

export class Violation extends Error {
  override name = 'Violation';
}

export class Checks {
  readonly #time: VirtualTime;
  /** The task that probed last, and when, by lease. */
  readonly #probing = new Map<string, { readonly task: SimTask; readonly atMs: number }>();
  /** When each SA's verdict was decided last, ms. */
  readonly #decided = new Map<string, number>();
  readonly #tornDown = new Set<string>();
  verdicts = 0;
  probes = 0;
  tornDownTotal = 0;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  /**
   * No verdict on a peer that never answered, nor while evidence is recent enough. Decisions of a task that is not the owner
   * have no effect.
   */
  decided(truth: TrueSa, rightful: boolean): void {
    this.verdicts++;
    this.#decided.set(truth.spi, this.#time.now);
    if (!truth.answered) this.#fail('verdict on a peer that never answered', `${name(truth)}, ${history(truth)}`);
    const earliest = truth.heardMs + detectionMs(truth.site.policy);
    if (rightful && this.#time.now < earliest - TOLERANCE_MS)
      this.#fail(
        'verdict while evidence is within bounds',
        `${name(truth)}: ${earliest - this.#time.now} ms early, ${history(truth)}`,
      );
  }

  /** Each attempt of a verdict is applied once, however often delivered. @param before by the same agent */
  applied({ id, attempt, peerId }: Verdict, before: Set<string>): void {
    const name = `${id}/${attempt}`;
    if (before.has(name)) this.#fail('applied twice', `${peerId} by ${name}`);
    before.add(name);
  }

  /** Each SA is torn down at most once, and only if it was dead. */
  tornDown(truth: TrueSa, verdict: Verdict): void {
    this.tornDownTotal++;
    if (this.#tornDown.has(truth.spi)) this.#fail('torn down twice', name(truth));
    this.#tornDown.add(truth.spi);
    const decided = this.#decided.get(truth.spi);
    if (decided === undefined) this.#fail('torn down without a verdict', `${name(truth)} by ${verdict.id}`);
    // It lived, and every question could have been answered.
    const blind = verdict.history!.guards.filter(({ guard }) => guard === Guard.BLIND_TIME);
    const window = decided! - detectionMs(truth.site.policy) - blind.reduce((sum, { ms }) => sum + Number(ms), 0);
    const lived = truth.deadMs === undefined || truth.deadMs > decided!;
    if (lived && truth.bornMs < window && truth.lossMs < window && truth.revivedMs < window)
      this.#fail('torn down alive', `${name(truth)} by ${verdict.id}, decided at ${decided}, ${history(truth)}`);
  }

  /**
   * The headend's rules name one owner: a task that probes after another has a canary home that it sent after the other's last probe. And
   * no task probes on a way whose canaries, out and in, did not come home just before.
   */
  probed(lease: string, task: SimTask): void {
    this.probes++;
    const { name } = task.process;
    const last = this.#probing.get(lease);
    if (last && last.task !== task && Math.min(...task.homeAt) < last.atMs)
      this.#fail(
        'probe beside another owner',
        `${lease} by ${name}, last by ${last.task.process.name} at ${last.atMs}`,
      );
    this.#probing.set(lease, { task, atMs: this.#time.now });
    if (task.homeAt.some((at) => this.#time.now >= at + VOUCHER_MS))
      this.#fail('probe on a way that is not proven', `${lease} by ${name}`);
  }

  /** The headend's daemon never accepts an answer to another request. */
  misled(truth: TrueSa, id: number): void {
    this.#fail('the daemon was misled', `${name(truth)}, request ${id}`);
  }

  /** A stale epoch has no effect: only the owner writes. */
  wrote(lease: string, writer: string, owner: string): void {
    if (writer !== owner) this.#fail('effect of a stale epoch', `${lease}: ${writer} wrote, ${owner} owns`);
  }

  /** Everything is well when faults have long stopped. */
  converged(problems: readonly string[]): void {
    if (problems.length > 0) this.#fail('not converged', problems.join('; '));
  }

  /** The SA is gone: no more checks will concern it. */
  forget(truth: TrueSa): void {
    this.#decided.delete(truth.spi);
  }

  #fail(what: string, detail: string): never {
    // Code that catches errors must not swallow this one.
    this.#time.failure ??= new Violation(`${what} at ${(this.#time.now / 1_000).toFixed(3)} s: ${detail}`);
    throw this.#time.failure;
  }
}

function history({ bornMs, heardMs, lossMs, revivedMs, deadMs }: TrueSa): string {
  return `born ${bornMs}, heard ${heardMs}, loss ${lossMs}, revived ${revivedMs}, dead ${deadMs}`;
}

function name({ spi, site, endpoint }: TrueSa): string {
  return `${site.name} endpoint ${endpoint} SA ${spi}`;
}
