/** What a spoke does with a liveness check: authenticates it, answers the next one, repeats its answer to the last. */

import { FLAG_INITIATOR, FLAG_RESPONSE, isInformational, MARKER_LENGTH, Offset } from '../../workers/ike/message.ts';
import { open, seal, sealedLength } from '../../workers/ike/sealed.ts';
import { keyMaterial, SessionTable } from '../../workers/ike/sessions.ts';
import { type Identity, identityOf, LIVES } from './fleet.ts';

export class Responder {
  readonly #seed: string;
  readonly #sessions = new SessionTable();
  readonly #dead: Uint8Array;
  /** When each life last answered, Unix ms. */
  readonly lastAnswer: Float64Array;
  readonly #out = Buffer.alloc(256);
  answered = 0;
  refused = 0;

  constructor(seed: string, count: number) {
    this.#seed = seed;
    this.#dead = new Uint8Array(count * LIVES);
    this.lastAnswer = new Float64Array(count * LIVES);
    for (let spoke = 0; spoke < count; spoke++) this.bring(spoke, 0);
  }

  /** Brings up a life of a spoke. */
  bring(spoke: number, life: number): void {
    const identity: Identity = identityOf(this.#seed, spoke, life);
    this.#sessions.add({
      handle: spoke * LIVES + life,
      spi: identity.spi,
      headendIsInitiator: false,
      address: 0,
      port: 0,
      nextMid: 0,
      keys: { suite: identity.suite.index, material: keyMaterial(identity.suite, false, identity) },
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

  /** The answer to a datagram, valid until the next call, or undefined for none. */
  answer(request: Buffer): Buffer | undefined {
    if (!isInformational(request, false)) return this.#refuse();
    const sessions = this.#sessions;
    const life = sessions.find(
      request.readUInt32BE(Offset.SPI_I),
      request.readUInt32BE(Offset.SPI_I + 4),
      request.readUInt32BE(Offset.SPI_R),
      request.readUInt32BE(Offset.SPI_R + 4),
    );
    if (life < 0) return this.#refuse();
    if (this.#dead[life] === 1) return undefined;
    const mid = request.readUInt32BE(Offset.MESSAGE_ID);
    const expected = sessions.nextMid[life]!;
    if (mid !== expected && mid + 1 !== expected) return this.#refuse();
    const suite = sessions.suite(life);
    if (!open(suite, sessions.sendKeys(life), request)) return this.#refuse();
    sessions.nextMid[life] = mid + 1;
    const response = this.#out.subarray(0, sealedLength(suite, 0));
    request.copy(response, 0, 0, Offset.BODY);
    response[Offset.FLAGS] = FLAG_RESPONSE | FLAG_INITIATOR;
    response.writeUInt32BE(response.length - MARKER_LENGTH, Offset.LENGTH);
    response.writeUInt16BE(response.length - Offset.SK, Offset.SK_LENGTH);
    // The IV is a function of the message, so that a repeated answer is bit for bit the same.
    response.fill(0x5a, Offset.BODY, Offset.BODY + suite.ivLength);
    response.writeUInt32BE(mid, Offset.BODY + 4);
    seal(suite, sessions.receiveKeys(life), response, 0);
    this.answered++;
    this.lastAnswer[life] = Date.now();
    return response;
  }

  #refuse(): undefined {
    this.refused++;
    return undefined;
  }
}
