/** The hub's IKE SAs as the ha feed tells of them, completed by what vici lists. */

import { isIPv4 } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { type Sa, type SaKeys, SaKeysSchema, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { findSuite } from '../../../../workers/ikev2/suites.ts';
import { deriveKeys, knowsPrf } from '../../../../workers/keys/derivation.ts';
import type { PeerEntry } from '../peers-file.ts';
import { type HaHost, type HaMessage, type HaSaId, HaType } from './ha/ha-message.ts';
import type { ListedSa } from './vici/sas.ts';

/** IKE's port with NAT traversal (RFC 3948). */
const NAT_T_PORT = 4500;
/** Child SPIs told of one SA; the API's limit. */
const MAX_CHILD_SPIS = 64;

/** Request ids from here on are parked ones: no peer ever gets so far. */
export const PARKED_ID = 2 ** 30;

export type SaRecord = {
  readonly id: HaSaId;
  readonly spi: string;
  peerId: string;
  connection: string;
  local: HaHost | undefined;
  remote: HaHost | undefined;
  /** Undefined where the cluster holds them already, or nobody does. */
  keys: SaKeys | undefined;
  /** The cluster holds this SA's keys from before. */
  heldKeys: boolean;
  nextMid: number;
  children: Set<number>;
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
  unsupported(spi: string, why: string): void;
};

/** SPI pair of an SA in hex. */
export function spiOf(id: HaSaId): string {
  return id.spiI.toString('hex') + id.spiR.toString('hex');
}

export class SaBook {
  readonly #records = new Map<string, SaRecord>();
  readonly #events: SaBookEvents;

  constructor(events: SaBookEvents) {
    this.#events = events;
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
    if (ikeId?.version !== 2) return;
    const record = this.#records.get(spiOf(ikeId));
    switch (message.type) {
      case HaType.IKE_ADD:
        this.#add(message, ikeId, record);
        break;
      case HaType.IKE_UPDATE:
        if (record) this.#update(message, record);
        break;
      case HaType.IKE_MID_INITIATOR:
        if (record && message.mid !== undefined && message.mid < PARKED_ID) record.nextMid = message.mid;
        break;
      case HaType.IKE_DELETE:
        if (record) this.drop(record);
        break;
      case HaType.CHILD_ADD:
        if (record && message.inboundSpi !== undefined) this.#child(record, message.inboundSpi, true);
        break;
      case HaType.CHILD_DELETE:
        if (record && message.inboundSpi !== undefined) this.#child(record, message.inboundSpi, false);
        break;
      default:
        break;
    }
  }

  /** An SA that the cluster has watched before this agent began: no keys needed. */
  takeHeld(listed: ListedSa, nextMid: number): void {
    const record: SaRecord = {
      id: listed.id,
      spi: listed.spi,
      peerId: listed.remoteId,
      connection: listed.connection,
      local: listed.local,
      remote: listed.remote,
      keys: undefined,
      heldKeys: true,
      nextMid,
      children: new Set(listed.children.map(({ inboundSpi }) => inboundSpi)),
      up: true,
      ready: false,
      parked: false,
    };
    this.#records.set(listed.spi, record);
    this.#settle(record);
  }

  /** Completes what the feed told by what vici lists: a lost update, a name that the feed has only in binary. */
  takeListed(listed: ListedSa): void {
    const record = this.#records.get(listed.spi);
    if (!record || !listed.established) return;
    const renamed = record.peerId !== listed.remoteId;
    record.peerId = listed.remoteId;
    if (record.ready && !renamed) return;
    record.connection = listed.connection;
    record.local ??= listed.local;
    record.remote ??= listed.remote;
    record.up = true;
    this.#settle(record);
  }

  /** Forgets an SA. */
  drop(record: SaRecord): void {
    this.#records.delete(record.spi);
    if (record.ready) this.#events.gone(record);
  }

  #add(message: HaMessage, id: HaSaId, known: SaRecord | undefined): void {
    if (known) return;
    const spi = spiOf(id);
    const keys = keysOf(message, id);
    if (typeof keys === 'string') this.#events.unsupported(spi, keys);
    const old = message.rekeyId && this.#records.get(spiOf(message.rekeyId));
    this.#records.set(spi, {
      id,
      spi,
      peerId: old?.peerId ?? '',
      connection: old?.connection ?? '',
      local: old?.local,
      remote: message.remoteAddress ?? old?.remote,
      keys: typeof keys === 'string' ? undefined : keys,
      heldKeys: false,
      // IKE_SA_INIT and IKE_AUTH took 0 and 1 of the initiator's ids; a rekeyed SA starts at 0 on both sides.
      nextMid: id.initiator && !message.rekeyId ? 2 : 0,
      children: new Set(old?.children),
      up: false,
      ready: false,
      parked: false,
    });
  }

  #update(message: HaMessage, record: SaRecord): void {
    if (message.remoteId !== undefined) record.peerId = message.remoteId;
    if (message.configName !== undefined) record.connection = message.configName;
    record.local = message.localAddress ?? record.local;
    record.remote = message.remoteAddress ?? record.remote;
    record.up ||= message.configName !== undefined;
    this.#settle(record);
  }

  #child(record: SaRecord, spi: number, added: boolean): void {
    if (added) record.children.add(spi);
    else record.children.delete(spi);
    if (record.ready) this.#events.changed(record);
  }

  #settle(record: SaRecord): void {
    if (record.ready) this.#events.changed(record);
    else if (record.up && record.local && record.remote && (record.keys || record.heldKeys)) {
      const why = unsteerable(record.local, record.remote);
      if (why) {
        record.keys = undefined;
        this.#events.unsupported(record.spi, why);
        return;
      }
      record.ready = true;
      this.#events.ready(record);
    }
  }
}

/** Why the rules cannot carry an SA's probes, or undefined if they can. */
function unsteerable(local: HaHost, remote: HaHost): string | undefined {
  if (!isIPv4(local.address) || !isIPv4(remote.address)) return `IPv6 is not supported: ${remote.address}`;
  // Without NAT traversal there is no marker before IKE, and all offsets differ.
  return local.port === NAT_T_PORT ? undefined : `port ${local.port} is not supported, only ${NAT_T_PORT}`;
}

/** The SA's keys from what the feed says, or why there are none. */
function keysOf(message: HaMessage, id: HaSaId): SaKeys | string {
  const { encryption, encryptionLength, integrity = 0, prf, nonceI, nonceR, secret, oldSkD, oldPrf } = message;
  if (message.addSecret) return 'additional key exchanges are not supported';
  if (encryption === undefined || prf === undefined || !nonceI || !nonceR || !secret) return 'incomplete key material';
  if (!knowsPrf(prf)) return `PRF ${prf} is not supported`;
  const saltLength = integrity === 0 ? 4 : 0;
  const suite = findSuite(encryption, integrity, (encryptionLength ?? 256) / 8 + saltLength);
  if (!suite)
    return `encryption ${encryption} of ${encryptionLength} bits with integrity ${integrity} is not supported`;
  const keys = deriveKeys(suite, {
    prf,
    nonceI,
    nonceR,
    secret,
    spiI: id.spiI,
    spiR: id.spiR,
    ...(oldSkD && { rekeyed: { skD: oldSkD, prf: oldPrf ?? prf } }),
  });
  const { skEi, skEr, skAi, skAr } = keys;
  return create(SaKeysSchema, { encryption, integrity, skEi, skEr, skAi, skAr });
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
    ikeVersion: 2,
    headendIsInitiator: record.id.initiator,
    endpoints,
    activeEndpoint: active,
    policy: peer.policy,
    ...(record.keys && { keys: record.keys }),
    nextMessageId: record.nextMid,
    childSpis: [...record.children].slice(0, MAX_CHILD_SPIS),
    revision,
    parked: record.parked,
    localAddress: record.local?.address ?? '',
  });
}
