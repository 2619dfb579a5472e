/** Spokes of the simulation: sites with several endpoints, each SA with keys of its own, answering real IKEv2. */

import { create } from '@bufbuild/protobuf';
import { answerRequest, findRequest } from '../../loadtest/spokes/answer.ts';
import { type Policy, type Sa, SaSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { spiHex } from '../../services/api/spi.ts';
import { NOWHERE } from '../../workers/base/address.ts';
import { writeSpi } from '../../workers/base/spi-index.ts';
import {
  EXCHANGE_INFORMATIONAL,
  isInformational,
  MARKER_LENGTH,
  Offset,
  PAYLOAD_SK,
  VERSION_2,
} from '../../workers/ikev2/header.ts';
import { keyMaterial, SessionTable } from '../../workers/ikev2/sessions.ts';
import { open, seal, sealedLength } from '../../workers/ikev2/sk-payload.ts';
import { SUITES } from '../../workers/ikev2/suites.ts';
import { SendBuffers } from '../../workers/net/send-buffers.ts';
import type { Random } from './random.ts';

/** Offset of a payload's kind: it distinguishes a request of a headend's daemon, and its answer, from a probe. */
const MARK = 42;

/** The true state of one SA, whatever the cluster believes. */
export type TrueSa = {
  readonly spi: string;
  readonly handle: number;
  readonly site: Site;
  endpoint: number;
  sa: Sa;
  readonly bornMs: number;
  /** Last evidence that the shard's rightful owner took, ms. */
  heardMs: number;
  /** Last time a probe or an answer of it was lost, ms. */
  lossMs: number;
  /** When it could last be reached again after it could not, ms. */
  revivedMs: number;
  /** Its last answer was to a request of the headend's daemon. */
  marked?: boolean;
  /** It has answered a question, and the answer was taken. */
  answered: boolean;
  /** When it became unreachable, or undefined while it can be reached. */
  deadMs: number | undefined;
};

export type Site = {
  readonly name: string;
  readonly headend: string;
  readonly policy: Policy;
  readonly label: string;
  readonly busy: boolean;
  /** Whether each endpoint can be reached. */
  readonly up: boolean[];
  /** UDP port that each endpoint shows to the world; changes when it roams. */
  readonly ports: number[];
  /** The SA that the headend has, if any. */
  sa: TrueSa | undefined;
};

/** The hub's address that its spokes know. */
export const HUB = '192.0.2.1';

/** Octet of an endpoint's address, so that a datagram's target names site and endpoint. */
export function addressOf(site: number, endpoint: number): string {
  return `10.${endpoint}.${site >> 8}.${site & 255}`;
}

export class Spokes {
  readonly sites: Site[] = [];
  readonly bySpi = new Map<string, TrueSa>();
  readonly #sessions = new SessionTable();
  readonly #byHandle: (TrueSa | undefined)[] = [];
  readonly #random: Random;
  readonly #buffers = new SendBuffers();

  constructor(random: Random) {
    this.#random = random;
  }

  add(headend: string, policy: Policy, endpoints: number, label: string, busy: boolean): Site {
    const site: Site = {
      name: `site-${this.sites.length}`,
      headend,
      policy,
      label,
      busy,
      up: new Array<boolean>(endpoints).fill(true),
      ports: new Array<number>(endpoints).fill(4500),
      sa: undefined,
    };
    this.sites.push(site);
    return site;
  }

  /** Sets up a new SA with a site on one endpoint, as IKE does. */
  establish(site: Site, endpoint: number, nowMs: number, revision: number): TrueSa {
    const random = this.#random;
    const suite = random.pick(SUITES);
    const key = (length: number) => {
      const bytes = new Uint8Array(length);
      random.fill(bytes);
      return bytes;
    };
    const ske = suite.keyLength + suite.saltLength;
    const keys = {
      skEi: key(ske),
      skEr: key(ske),
      skAi: key(suite.integrityKeyLength),
      skAr: key(suite.integrityKeyLength),
    };
    const words = [random.uint32(), random.uint32() | 1, random.uint32(), random.uint32() | 1] as const;
    const spi = words.map((word) => word >>> 0) as unknown as readonly [number, number, number, number];
    const index = this.sites.indexOf(site);
    const sa = create(SaSchema, {
      id: {
        initiatorSpi: (BigInt(spi[0]) << 32n) | BigInt(spi[1]),
        responderSpi: (BigInt(spi[2]) << 32n) | BigInt(random.uint32() || 1),
      },
      peerId: site.name,
      ikeVersion: 2,
      endpoints: site.ports.map((port, n) => ({ address: addressOf(index, n), port, connection: '' })),
      activeEndpoint: endpoint,
      policy: site.policy,
      keys: { encryption: suite.encryption, integrity: suite.integrity, ...keys },
      nextMessageId: 0,
      revision,
      parked: true,
      site: site.label,
      localAddress: HUB,
    });
    const handle = this.#byHandle.length;
    const responder = sa.id!.responderSpi;
    this.#sessions.add({
      handle,
      spi: [spi[0], spi[1], Number(responder >> 32n), Number(responder & 0xffffffffn)],
      headendIsInitiator: false,
      address: NOWHERE,
      port: 0,
      nextMid: 0,
      keys: { suite: suite.index, material: keyMaterial(suite, false, keys) },
    });
    const truth: TrueSa = {
      spi: spiHex(sa.id!),
      handle,
      site,
      endpoint,
      sa,
      bornMs: nowMs,
      heardMs: nowMs,
      lossMs: Number.NEGATIVE_INFINITY,
      revivedMs: Number.NEGATIVE_INFINITY,
      answered: false,
      deadMs: site.up[endpoint] ? undefined : nowMs,
    };
    this.#byHandle[handle] = truth;
    this.bySpi.set(truth.spi, truth);
    site.sa = truth;
    return truth;
  }

  /** The SA is gone at the headend: it is not used any more. */
  forget(truth: TrueSa): void {
    if (truth.site.sa === truth) truth.site.sa = undefined;
    this.#sessions.remove(truth.handle);
    this.#byHandle[truth.handle] = undefined;
  }

  /** Whose SA a probe is about. */
  find(request: Buffer): TrueSa | undefined {
    const handle = findRequest(this.#sessions, request);
    return handle < 0 ? undefined : this.#byHandle[handle];
  }

  /** The message id that an SA's spoke expects. */
  expects({ handle }: TrueSa): number {
    return this.#sessions.nextMid[handle]!;
  }

  answer(truth: TrueSa, request: Buffer): Buffer | undefined {
    const isNew = request.readUInt32BE(Offset.MESSAGE_ID) === this.expects(truth);
    const answer = answerRequest(this.#sessions, truth.handle, request, this.#buffers);
    if (!answer) return undefined;
    // A repeated id gets the same answer again, whatever the request.
    if (isNew) truth.marked = request[Offset.SK] === MARK;
    answer[Offset.SK] = truth.marked ? MARK : 0;
    seal(this.#sessions.suite(truth.handle), this.#sessions.receiveKeys(truth.handle), answer);
    return Buffer.from(answer);
  }

  /** A request of the headend's daemon, as it writes it. */
  request({ handle }: TrueSa, id: number): Buffer {
    const sessions = this.#sessions;
    const suite = sessions.suite(handle);
    const message = Buffer.alloc(sealedLength(suite));
    writeSpi(sessions.spis, handle, message, Offset.SPI_I);
    message[Offset.NEXT_PAYLOAD] = PAYLOAD_SK;
    message[Offset.VERSION] = VERSION_2;
    message[Offset.EXCHANGE] = EXCHANGE_INFORMATIONAL;
    message.writeUInt32BE(id, Offset.MESSAGE_ID);
    message.writeUInt32BE(message.length - MARKER_LENGTH, Offset.LENGTH);
    message[Offset.SK] = MARK;
    message.writeUInt16BE(message.length - Offset.SK, Offset.SK_LENGTH);
    message.fill(0x3c, Offset.BODY, Offset.BODY + suite.ivLength);
    seal(suite, sessions.sendKeys(handle), message);
    return message;
  }

  /** An answer as the headend's daemon reads it; undefined if it is none, or not authentic. */
  readAnswer(datagram: Buffer): { readonly truth: TrueSa; readonly id: number; readonly marked: boolean } | undefined {
    if (!isInformational(datagram, true)) return undefined;
    const handle = this.#sessions.named(datagram);
    const truth = this.#byHandle[handle];
    if (!truth || !open(this.#sessions.suite(handle), this.#sessions.receiveKeys(handle), datagram)) return undefined;
    return { truth, id: datagram.readUInt32BE(Offset.MESSAGE_ID), marked: datagram[Offset.SK] === MARK };
  }
}
