/** Spokes by number, each with its lives: they answer until they are killed. */

import { NOWHERE } from '../../workers/base/address.ts';
import { type Ikev1Suite, ikev1Material } from '../../workers/ikev1/suites.ts';
import { keyMaterial, SessionTable } from '../../workers/ikev2/sessions.ts';
import { SendBuffers } from '../../workers/net/send-buffers.ts';
import { answerRequest, findRequest } from './answer.ts';
import { type Identity, identityOf, LIVES } from './fleet.ts';
import { acknowledge, findQuestion, ikev1KeysOf, ikev1SuiteOf } from './ikev1.ts';

export class Responder {
  readonly #seed: string;
  readonly #suite: number | undefined;
  /** Undefined: they speak IKEv2. */
  readonly #ikev1: Ikev1Suite | undefined;
  readonly #sessions = new SessionTable();
  readonly #dead: Uint8Array;
  /** When each life last answered, Unix ms. */
  readonly lastAnswer: Float64Array;
  readonly #buffers = new SendBuffers();
  answered = 0;
  refused = 0;

  constructor(seed: string, count: number, suite?: number) {
    this.#seed = seed;
    this.#suite = suite;
    this.#ikev1 = ikev1SuiteOf(suite);
    this.#dead = new Uint8Array(count * LIVES);
    this.lastAnswer = new Float64Array(count * LIVES);
    for (let spoke = 0; spoke < count; spoke++) this.bring(spoke, 0);
  }

  /** Brings up a life of a spoke, or begins its message ids anew. */
  bring(spoke: number, life: number): void {
    const identity: Identity = identityOf(this.#seed, spoke, life, this.#suite);
    const handle = spoke * LIVES + life;
    const ikev1 = this.#ikev1;
    this.#sessions.remove(handle);
    this.#sessions.add({
      handle,
      spi: identity.spi,
      ikev1: ikev1 !== undefined,
      headendIsInitiator: false,
      address: NOWHERE,
      port: 0,
      nextMid: 0,
      keys: ikev1
        ? { suite: ikev1.index, material: ikev1Material(ikev1, ikev1KeysOf(this.#seed, spoke, life, ikev1)) }
        : { suite: identity.suite.index, material: keyMaterial(identity.suite, false, identity) },
    });
  }

  /** From now on the life is silent. */
  kill(spoke: number, life: number): void {
    this.#dead[spoke * LIVES + life] = 1;
  }

  /** It answers again. */
  revive(spoke: number, life: number): void {
    this.#dead[spoke * LIVES + life] = 0;
  }

  /** The answer to a datagram, good until many more were given, or undefined for none. */
  answer(request: Buffer): Buffer | undefined {
    const [find, write] = this.#ikev1
      ? ([findQuestion, acknowledge] as const)
      : ([findRequest, answerRequest] as const);
    const life = find(this.#sessions, request);
    if (life < 0) return this.#refuse();
    if (this.#dead[life] === 1) return undefined;
    const response = write(this.#sessions, life, request, this.#buffers);
    if (!response) return this.#refuse();
    this.answered++;
    this.lastAnswer[life] = Date.now();
    return response;
  }

  #refuse(): undefined {
    this.refused++;
    return undefined;
  }
}
