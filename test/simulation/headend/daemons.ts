/**
 * The IKE daemons of headends with rules: parked, they send requests of their own now and then, and repeat them until they are
 * answered. A request carries a mark that the spoke's answer to it repeats, so that no other passes for it.
 */

import { Address } from '../../../workers/base/address.ts';
import { PARKED_ID } from '../../../workers/ikev2/header.ts';
import type { SimTask } from '../sim-task.ts';
import { HUB, type Spokes, type TrueSa } from '../spokes.ts';
import type { VirtualTime } from '../virtual-time.ts';
import type { SimHeadend } from './headend.ts';

/** When a request is repeated, ms after the time before; then always after the last of these. */
const REPEATS_MS = [4_000, 7_200, 13_000, 23_300, 42_000];
const SENDER = { address: Address.of(HUB), port: 4500 };

export type DaemonWorld = {
  readonly time: VirtualTime;
  readonly spokes: Spokes;
  /** The task to whose socket the headend's rules bring a shard's datagrams. */
  owner(headend: SimHeadend, shard: number): SimTask | undefined;
  /** The daemon was given an answer to another request. */
  misled(truth: TrueSa, id: number): void;
};

type Pending = { readonly id: number; readonly sinceMs: number; repeats: number };

export class Daemons {
  readonly #world: DaemonWorld;
  readonly #pending = new Map<TrueSa, Pending>();
  readonly #nextId = new WeakMap<TrueSa, number>();
  answered = 0;

  constructor(world: DaemonWorld) {
    this.#world = world;
  }

  /** The headend's daemon sends a request to this SA's spoke. One request at a time. */
  request(headend: SimHeadend, truth: TrueSa, shard: number): void {
    if (this.#pending.has(truth)) return;
    const id = this.#nextId.get(truth) ?? PARKED_ID;
    this.#nextId.set(truth, id + 1);
    const pending = { id, sinceMs: this.#world.time.now, repeats: 0 };
    this.#pending.set(truth, pending);
    this.#send(headend, truth, shard, pending);
  }

  /** What the shard hands over. */
  receive(datagram: Buffer): void {
    const answer = this.#world.spokes.readAnswer(datagram);
    if (!answer) return;
    const pending = this.#pending.get(answer.truth);
    if (pending?.id !== answer.id) return;
    if (!answer.marked) this.#world.misled(answer.truth, answer.id);
    this.#pending.delete(answer.truth);
    this.answered++;
  }

  /** When the unanswered request to this SA's spoke was first sent, ms; undefined: there is none. */
  waitsSince(truth: TrueSa): number | undefined {
    return this.#pending.get(truth)?.sinceMs;
  }

  #send(headend: SimHeadend, truth: TrueSa, shard: number, pending: Pending): void {
    const { time, spokes } = this.#world;
    // The SA is gone, or the answer has come.
    if (truth.site.sa !== truth || this.#pending.get(truth) !== pending) {
      if (truth.site.sa !== truth) this.#pending.delete(truth);
      return;
    }
    const task = headend.rulesUp ? this.#world.owner(headend, shard) : undefined;
    if (task) {
      const datagram = spokes.request(truth, pending.id);
      time.at(time.now + 1, task.process, () => {
        if (task.running) task.whenAwake(() => task.receive(datagram, SENDER));
      });
    }
    const waitMs = REPEATS_MS[Math.min(pending.repeats++, REPEATS_MS.length - 1)]!;
    time.at(time.now + waitMs, undefined, () => this.#send(headend, truth, shard, pending));
  }
}
