/** A shard and its spokes in virtual time, joined without a network: for what can be counted, or measured, without a clock. */

import { create } from '@bufbuild/protobuf';
import { Mode, PolicySchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { Address } from '../../workers/base/address.ts';
import { pooledRandom } from '../../workers/crypto/random.ts';
import { TICK_MS } from '../../workers/liveness/wheel.ts';
import { SENDS_IN_FLIGHT } from '../../workers/net/send-buffers.ts';
import { readCanary } from '../../workers/path/canary.ts';
import type { FromShard } from '../../workers/shard/protocol.ts';
import { Shard } from '../../workers/shard/shard.ts';
import { type FleetShape, pageOf, vouchedPath } from './fleet.ts';
import { Responder } from './responder.ts';

const SOCKETS = [1, 2].map((n) => ({ address: `127.0.0.${n}`, port: 9 }));

const SPOKES = { address: Address.of('127.0.0.1'), port: 9 };

export type LoopShape = {
  readonly peers: number;
  readonly seed: string;
  /** As in a fleet. */
  readonly suite?: number;
  /** Each peer is asked so often, whatever is heard; times in ms. */
  readonly intervalMs: number;
  readonly retryIntervalMs: number;
  readonly retries: number;
  /** What the shard tells the main thread. */
  readonly post?: (message: FromShard) => void;
};

export class ClosedLoop {
  readonly shard: Shard;
  readonly spokes: Responder;
  /** Probes sent so far, repeated ones included. */
  probes = 0;
  /** Time that the spokes took so far, us. */
  spokesMicros = 0;
  #now = 0;
  readonly #asked: Buffer[] = [];
  readonly #canaries: number[] = [];
  readonly #answers: Buffer[] = [];

  constructor({ peers, seed, suite, post = () => {}, ...times }: LoopShape) {
    this.spokes = new Responder(seed, peers, suite);
    this.shard = new Shard({
      now: () => this.#now,
      wall: () => this.#now,
      fillRandom: pooledRandom(),
      send: (message) => {
        const canary = readCanary(message);
        if (canary) {
          this.#canaries.push(canary.number);
          return true;
        }
        this.probes++;
        // One more would be written over the first.
        return this.#asked.push(message) < SENDS_IN_FLIGHT;
      },
      post,
      shard: 0,
    });
    this.shard.handle({ type: 'path', path: vouchedPath('127.0.0.1', 9) });
    const fleet: FleetShape = { count: peers, shards: 1, seed, suite, sockets: SOCKETS };
    const policy = create(PolicySchema, { mode: Mode.PERIODIC, ...times });
    this.shard.handle({ type: 'upsert', page: pageOf(fleet, peers, policy) });
  }

  /** Time goes on by this much; answers come at the end of the tick in which they were asked for. */
  run(ms: number): void {
    for (const end = this.#now + ms; this.#now < end; ) {
      this.#now += TICK_MS;
      this.shard.tick();
      const begun = process.hrtime.bigint();
      for (const request of this.#asked) {
        const answer = this.spokes.answer(request);
        if (answer) this.#answers.push(answer);
      }
      this.spokesMicros += Number(process.hrtime.bigint() - begun) / 1_000;
      for (const canary of this.#canaries) this.shard.handle({ type: 'voucher', canary });
      for (const answer of this.#answers) this.shard.receive(answer, SPOKES);
      this.#canaries.length = 0;
      this.#asked.length = 0;
      this.#answers.length = 0;
    }
  }
}
