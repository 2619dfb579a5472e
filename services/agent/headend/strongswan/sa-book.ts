/** The hub's IKE SAs from the ha feed, completed from vici's list. */

import { randomInt } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { DpdSupport, type Sa, type SaKeys, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { LEAST_SPACING_MS } from '../../../../workers/ikev1/exchange.ts';
import { IKE_PORT, MAX_FIRST_ID, NAT_T_PORT, PARKED_ID } from '../../../../workers/ikev2/header.ts';
import type { PeerEntry } from '../peers-file.ts';
import { type HaHost, type HaMessage, type HaSaId, HaType } from './ha/ha-message.ts';
import { derivePhase1, dpdSupport, type Ikev1Phase1, ikev1Keys } from './ikev1-keys.ts';
import { type Derivation, deriveSaKeys, isFurther } from './sa-keys.ts';
import type { ListedSa } from './vici/sas.ts';

/** Child SPIs reported for one SA; the API's limit. */
const MAX_CHILD_SPIS = 64;
/** Maximum number of children of an SA here: if there are more, charon has not reported that some are gone. */
const MOST_CHILDREN = 1_024;

export type SaRecord = {
  readonly id: HaSaId;
  readonly spi: string;
  /** charon's number for it, as soon as vici has given it. */
  uniqueId: string | undefined;
  peerId: string;
  connection: string;
  local: HaHost | undefined;
  remote: HaHost | undefined;
  /** Undefined if the cluster holds them already, or if they are not known. */
  keys: SaKeys | undefined;
  /** The cluster holds this SA's keys from before. */
  heldKeys: boolean;
  /** SPI pair of the SA that it replaces. */
  readonly replaces: string | undefined;
  /** Key material from the feed. */
  derivation: Derivation | undefined;
  /** Of IKEv1, until its keys are complete; and when something of it came last, ms of performance.now(). */
  phase1: (Ikev1Phase1 & { block: Buffer | undefined; at: number }) | undefined;
  /** Of IKEv1. */
  dpdSupport: DpdSupport;
  nextMid: number;
  /** When that was known, ms of performance.now(). */
  readonly madeAt: number;
  /** When the hub last answered a request of the spoke's, or set the SA up, ms of performance.now(). */
  respondedAt: number;
  /** Inbound SPIs of its children, with their outbound ones. */
  children: Map<number, number>;
  up: boolean;
  /** Has been handed to {@link SaBookEvents.ready}. */
  ready: boolean;
  /** charon's own request counter is far ahead. */
  parked: boolean;
};

export type SaBookEvents = {
  /** The SA is up and can be probed. */
  ready(record: SaRecord): void;
  /** Something about a ready SA changed. */
  changed(record: SaRecord): void;
  gone(record: SaRecord): void;
  /** The SA cannot be taken into care. */
  unsupported(spi: string, peerId: string, why: string): void;
};

/** Phase 1 has ended when nothing of it came for so long, ms. */
const PHASE1_MS = 1_000;
/** Highest first DPD sequence number: what is above is left for the SA's life. */
const MAX_FIRST_SEQUENCE = MAX_FIRST_ID / 2;

export function isIkev1({ id }: Pick<SaRecord, 'id'>): boolean {
  return id.version === 1;
}

/** SPI pair of an SA in hex. */
export function spiOf(id: HaSaId): string {
  return id.spiI.toString('hex') + id.spiR.toString('hex');
}

/** An SA of which nothing else is known. */
function newRecord(id: HaSaId, known: Partial<SaRecord>): SaRecord {
  return {
    id,
    spi: spiOf(id),
    uniqueId: undefined,
    peerId: '',
    connection: '',
    local: undefined,
    remote: undefined,
    keys: undefined,
    heldKeys: false,
    replaces: undefined,
    derivation: undefined,
    phase1: undefined,
    dpdSupport: DpdSupport.UNSPECIFIED,
    nextMid: 0,
    madeAt: performance.now(),
    respondedAt: performance.now(),
    children: new Map(),
    up: false,
    ready: false,
    parked: false,
    ...known,
  };
}

export type HubFacts = {
  /** Whether the rules can carry IPv6. */
  readonly ipv6: boolean;
  /** Whether the rules steered answers on this SA before this agent began: then it was not given back. */
  wasInCare(record: SaRecord): boolean;
};

export class SaBook {
  readonly #records = new Map<string, SaRecord>();
  readonly #events: SaBookEvents;
  readonly #hub: HubFacts;

  constructor(events: SaBookEvents, hub: HubFacts) {
    this.#events = events;
    this.#hub = hub;
  }

  get(spi: string): SaRecord | undefined {
    return this.#records.get(spi);
  }

  /** SAs that are ready. */
  *ready(): Generator<SaRecord> {
    for (const record of this.#records.values()) if (record.ready) yield record;
  }

  /** Takes a message of the feed. */
  take(message: HaMessage): void {
    const { ikeId } = message;
    if (ikeId?.version !== 2 && ikeId?.version !== 1) return;
    const record = this.#records.get(spiOf(ikeId));
    switch (message.type) {
      case HaType.IKE_ADD:
        this.#add(message, ikeId, record);
        break;
      case HaType.IKE_UPDATE:
        if (record) this.#update(message, record);
        break;
      case HaType.IKE_MID_INITIATOR:
        if (record && isIkev1(record)) this.#leave(record, 'charon asks it itself: dpd_delay must be 0 with IKEv1');
        else if (record && message.mid !== undefined) this.#counted(record, message.mid);
        break;
      case HaType.IKE_IV:
        if (record && message.iv) this.#phase1Block(record, message.iv);
        break;
      case HaType.IKE_MID_RESPONDER:
        if (record) record.respondedAt = performance.now();
        break;
      case HaType.IKE_DELETE:
        if (record) this.#deleted(record);
        break;
      case HaType.CHILD_ADD:
        if (record && message.inboundSpi !== undefined)
          this.#child(record, message.inboundSpi, message.outboundSpi ?? 0);
        break;
      case HaType.CHILD_DELETE:
        if (record && message.inboundSpi !== undefined) this.#child(record, message.inboundSpi, undefined);
        break;
      default:
        break;
    }
  }

  /** An SA that the cluster has watched before this agent began: no keys needed. */
  takeHeld(listed: ListedSa, nextMid: number, parked: boolean): void {
    const record = newRecord(listed.id, {
      uniqueId: listed.uniqueId,
      peerId: listed.remoteId,
      connection: listed.connection,
      local: listed.local,
      remote: listed.remote,
      heldKeys: true,
      nextMid,
      children: new Map(listed.children.map(({ inboundSpi, outboundSpi }) => [inboundSpi, outboundSpi])),
      up: true,
      parked,
    });
    this.#records.set(listed.spi, record);
    this.#settle(record);
  }

  /** Completes the feed's data from vici's list: a lost update, or a name that the feed has only in binary. */
  takeListed(listed: ListedSa): void {
    const record = this.#records.get(listed.spi);
    if (!record) return;
    record.uniqueId = listed.uniqueId;
    if (!listed.established) return;
    // The feed does not report that an SA moves.
    const moved = !sameHost(record.local, listed.local) || !sameHost(record.remote, listed.remote);
    const renamed = record.peerId !== listed.remoteId;
    record.peerId = listed.remoteId;
    record.local = listed.local;
    record.remote = listed.remote;
    if (record.ready && !renamed && !moved) return;
    record.connection = listed.connection;
    record.up = true;
    this.#settle(record);
  }

  /** Forgets an SA. */
  drop(record: SaRecord): void {
    this.#records.delete(record.spi);
    if (record.ready) this.#events.gone(record);
  }

  /** A spoke that deletes an SA which it had replaced has received the answer to the replacement. */
  #deleted(record: SaRecord): void {
    for (const other of this.#records.values())
      if (other.replaces === record.spi) other.respondedAt = Number.NEGATIVE_INFINITY;
    this.drop(record);
  }

  #add(message: HaMessage, id: HaSaId, known: SaRecord | undefined): void {
    if (id.version === 1) {
      this.#addIkev1(message, id, known);
      return;
    }
    const further = isFurther(message);
    // Without the messages before it keys cannot be derived: the SA counts as not announced.
    if (further && !known?.derivation) return;
    // After RESYNC it is the same again.
    if (known?.heldKeys || (message.secret && known?.derivation?.secrets.some((told) => told.equals(message.secret!))))
      return;
    if (known?.keys && known.up) return;
    const spi = spiOf(id);
    const derived = deriveSaKeys(message, further ? known?.derivation : undefined);
    if (typeof derived === 'string') this.#events.unsupported(spi, message.remoteId ?? '', derived);
    const derivation = typeof derived === 'string' ? undefined : derived;
    const keys = derivation?.due === 0 ? derivation.keys : undefined;
    if (known) {
      known.keys = keys;
      known.derivation = derivation;
      if (keys) this.#settle(known);
      return;
    }
    const old = message.rekeyId && this.#records.get(spiOf(message.rekeyId));
    const record = newRecord(id, {
      replaces: message.rekeyId && spiOf(message.rekeyId),
      derivation,
      peerId: old?.peerId ?? '',
      connection: old?.connection ?? '',
      local: old?.local,
      remote: message.remoteAddress ?? old?.remote,
      keys,
      // IKE_SA_INIT and IKE_AUTH took 0 and 1 of the initiator's ids; a rekeyed SA starts at 0 on both sides.
      nextMid: id.initiator && !message.rekeyId ? 2 : 0,
      children: new Map(old?.children),
    });
    this.#records.set(spi, record);
  }

  #update(message: HaMessage, record: SaRecord): void {
    if (message.remoteId !== undefined) record.peerId = message.remoteId;
    if (message.configName !== undefined) record.connection = message.configName;
    record.local = message.localAddress ?? record.local;
    record.remote = message.remoteAddress ?? record.remote;
    record.up ||= message.configName !== undefined;
    if (isIkev1(record) && message.extensions !== undefined) record.dpdSupport = dpdSupport(message.extensions);
    // The SA is up, but a key exchange is missing: it counts as not announced.
    if (!record.ready && record.up && record.derivation && record.derivation.due > 0) this.drop(record);
    else this.#settle(record);
  }

  /**
   * charon reports the id of its next request, or of the last one that it sent. An id far ahead comes from us: from a former agent
   * that has not given the SA back since.
   */
  #counted(record: SaRecord, mid: number): void {
    if (mid < PARKED_ID) record.nextMid = mid;
    else if (!record.parked && this.#hub.wasInCare(record)) {
      record.parked = true;
      if (record.ready) this.#events.changed(record);
    }
  }

  /** @param outbound undefined: it is deleted */
  #child(record: SaRecord, spi: number, outbound: number | undefined): void {
    if (outbound !== undefined) {
      if (record.children.size < MOST_CHILDREN) record.children.set(spi, outbound);
    } else record.children.delete(spi);
    if (record.ready) this.#events.changed(record);
  }

  /** @param known after RESYNC its keys are the same again */
  #addIkev1(message: HaMessage, id: HaSaId, known: SaRecord | undefined): void {
    if (known && (known.heldKeys || known.keys || known.phase1)) return;
    const spi = spiOf(id);
    const derived = derivePhase1(message);
    if (typeof derived === 'string') {
      this.#events.unsupported(spi, message.remoteId ?? '', derived);
      return;
    }
    const phase1 = { ...derived, block: undefined, at: performance.now() };
    if (known) {
      known.phase1 = phase1;
      return;
    }
    const nextMid = randomInt(1, MAX_FIRST_SEQUENCE);
    this.#records.set(spi, newRecord(id, { phase1, remote: message.remoteAddress, nextMid }));
  }

  #phase1Block(record: SaRecord, block: Buffer): void {
    const { phase1 } = record;
    if (!phase1 || phase1.block?.equals(block)) return;
    if (record.keys) this.#leave(record, 'phase 1 went on after it was over');
    else {
      phase1.block = block;
      phase1.at = performance.now();
      this.#settleIkev1(record);
    }
  }

  /** Completes the keys of an SA of IKEv1 once phase 1 has ended. Whatever is the matter with it, it is not asked. */
  #settleIkev1(record: SaRecord): void {
    const { phase1 } = record;
    if (record.keys || !phase1 || this.#records.get(record.spi) !== record) return;
    if (!record.up || !record.local || !record.remote || !phase1.block) return;
    const leftMs = phase1.at + PHASE1_MS - performance.now();
    if (leftMs > 0) {
      setTimeout(() => this.#settleIkev1(record), leftMs).unref();
      return;
    }
    record.keys = ikev1Keys(phase1, phase1.block);
    if (!record.keys) this.#leave(record, `the last block of phase 1 has ${phase1.block.length} bytes`);
    else if (record.dpdSupport === DpdSupport.ABSENT) this.#leave(record, 'it has not announced DPD (RFC 3706)');
    else if (record.ready) this.#events.changed(record);
    else this.#enter(record);
  }

  /** The SA is not watched, or not any more. */
  #leave(record: SaRecord, why: string): void {
    this.drop(record);
    this.#events.unsupported(record.spi, record.peerId, why);
  }

  #settle(record: SaRecord): void {
    if (record.ready) this.#events.changed(record);
    else if (isIkev1(record) && !record.heldKeys) this.#settleIkev1(record);
    else if (record.up && record.local && record.remote && (record.keys || record.heldKeys)) this.#enter(record);
  }

  /** Its addresses and keys are known. */
  #enter(record: SaRecord): void {
    const why = unsteerable(record.local!, record.remote!, this.#hub.ipv6);
    if (why) {
      record.keys = undefined;
      this.#events.unsupported(record.spi, record.peerId, why);
      return;
    }
    record.ready = true;
    this.#events.ready(record);
  }
}

/** Why the rules cannot carry an SA's probes, or undefined if they can. */
function unsteerable(local: HaHost, remote: HaHost, ipv6: boolean): string | undefined {
  if (isIPv6(local.address) && !ipv6) return 'IPv6 needs --node-address6, as the node is not on the hub';
  if (local.port === NAT_T_PORT || (local.port === IKE_PORT && remote.port === IKE_PORT)) return undefined;
  return `ports ${local.port} and ${remote.port} are not supported: ${NAT_T_PORT} here, or ${IKE_PORT} on both sides`;
}

function sameHost(a: HaHost | undefined, b: HaHost): boolean {
  return a?.address === b.address && a.port === b.port;
}

/** The API's form of an SA. The endpoint in use carries the port that the spoke is really at. */
export function toApiSa(record: SaRecord, peer: PeerEntry, revision: number): Sa {
  const remote = record.remote!;
  const endpoints = peer.endpoints.map(({ address, connection }) => ({ address, connection, port: 0 }));
  let active = endpoints.findIndex(
    ({ address, connection }) => address === remote.address && (connection === record.connection || !record.connection),
  );
  if (active < 0) active = endpoints.findIndex(({ address }) => address === remote.address);
  if (active < 0) active = endpoints.push({ address: remote.address, connection: record.connection, port: 0 }) - 1;
  endpoints[active]!.port = remote.port;
  return create(SaSchema, {
    id: {
      initiatorSpi: record.id.spiI.readBigUInt64BE(),
      responderSpi: record.id.spiR.readBigUInt64BE(),
    },
    peerId: record.peerId,
    ikeVersion: record.id.version,
    dpdSupport: record.dpdSupport,
    headendIsInitiator: record.id.initiator,
    endpoints,
    activeEndpoint: active,
    policy: peer.policy,
    ...(record.keys && { keys: record.keys }),
    nextMessageId: isIkev1(record) ? sequenceFrom(record) : record.nextMid,
    childSpis: [...record.children.keys()].slice(0, MAX_CHILD_SPIS),
    revision,
    parked: record.parked,
    localAddress: record.local?.address ?? '',
    localPort: record.local?.port ?? 0,
    muteUntilUnixMs: BigInt(peer.muteUntilUnixMs ?? 0),
    pinnedEndpoint: (peer.pinned ?? -1) + 1,
    // Peers that connect to one address of the hub use one uplink, and may be cut off together.
    site: peer.site ?? record.local?.address ?? '',
  });
}

/** Higher than any number that the SA's spoke was asked with, should the cluster have forgotten it. */
function sequenceFrom({ nextMid, madeAt }: SaRecord): number {
  return Math.min(MAX_FIRST_ID, nextMid + Math.ceil((performance.now() - madeAt) / LEAST_SPACING_MS));
}
