/**
 * strongSwan as a headend. Its feed reports SAs and their keys, vici reports names and counters. The steering rules and charon's
 * parked request counters put the shard between charon and the spokes: see care.ts.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { Mode, type Policy, type Verdict } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { SettingsError } from '../../../../workers/base/errors.ts';
import { membersOf } from '../../../api/policy/layers.ts';
import { shardOf, spiFromHex, spiHex } from '../../../api/spi.ts';
import type { Logger } from '../../../base/log.ts';
import type { Members } from '../../../base/shape.ts';
import { watchFiles } from '../../../base/watch-files.ts';
import type { AgentSide, Applied, Headend, HeldSa, ProbeSource } from '../headend.ts';
import { endName } from '../nftables/end.ts';
import { PathGuard, type Target } from '../nftables/path-guard.ts';
import type { Steering } from '../nftables/rules.ts';
import { PeersFile } from '../peers-file.ts';
import { applyVerdict } from './apply-verdict.ts';
import { Care, careOf } from './care.ts';
import { FeedGaps } from './feed-gaps.ts';
import { giveBack } from './give-back.ts';
import { HaFeed } from './ha/ha-feed.ts';
import { KernelTraffic } from './kernel-traffic.ts';
import { type ListSas, Looks } from './looks.ts';
import { Parking } from './parking.ts';
import { isIkev1, SaBook, type SaRecord } from './sa-book.ts';
import { TrafficWatch } from './traffic.ts';
import { ViciClient } from './vici/client.ts';
import { ViciEvents } from './vici/events.ts';
import { type ListedSa, listSas, readSas } from './vici/sas.ts';
import { readConcerns } from './vici/settings.ts';

export type StrongSwanSettings = {
  readonly viciSocket: string;
  /** Our address, charon's `remote`; and charon's, its `local`. */
  readonly haAddress: string;
  readonly charonHaAddress: string;
  readonly shards: number;
  readonly steering: Steering;
  /** The agent writes the rules; otherwise it only watches them. */
  readonly installRules: boolean;
  readonly peersFile: string | undefined;
  /** How often counters are read, ms. */
  readonly pollMs: number;
  /** How long late replies have between the last probe and unparking, ms. */
  readonly lingerMs: number;
  /** A clean stop gives SAs back; otherwise everything stays in place for the next agent. */
  readonly releaseOnStop: boolean;
};

/** Longest wait for charon's ha plugin at the start, ms. */
const FEED_MS = 10_000;
const BEGIN_AGAIN_MS = 1_000;
/** How often the list of all SAs is read from charon if the kernel reports traffic, ms. */
const LIST_MS = 60_000;
/** How often charon's connections are read, ms: charon does not report their changes. */
const SETTINGS_MS = 300_000;
/** Events of charon about SAs. */
const EVENTS = ['ike-updown', 'ike-rekey', 'ike-update'];
/** Maximum number of items in one line of the log. */
const NAMED = 10;

export class StrongSwanHeadend implements Headend {
  readonly #settings: StrongSwanSettings;
  readonly #log: Logger;
  readonly #vici: ViciClient;
  readonly #peers: PeersFile;
  readonly #book: SaBook;
  readonly #guard: PathGuard;
  readonly #kernel = new KernelTraffic();
  readonly #traffic = new TrafficWatch();
  readonly #parking: Parking;
  readonly #looks: Looks;
  /** What each shard held when it was connected last, until the hub is taken over. */
  readonly #held = new Map<number, readonly HeldSa[]>();
  readonly #connected = new Set<number>();
  readonly #released = new Map<string, number | undefined>();
  readonly #gaps: FeedGaps;
  #care!: Care;
  #agent!: AgentSide;
  #feed!: HaFeed;
  #events: ViciEvents | undefined;
  #timer: NodeJS.Timeout | undefined;
  #listedAt = Number.NEGATIVE_INFINITY;
  #concerns: readonly string[] = [];
  #settingsAt = Number.NEGATIVE_INFINITY;
  #started = false;
  /** Members of the policy that the cluster gives to all headends. */
  #cluster: Members = {};
  #unwatchPeers = () => {};
  #beginning = false;
  #stopping = false;

  /** Throws SettingsError on a peers file that cannot be used. */
  constructor(settings: StrongSwanSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#vici = new ViciClient(settings.viciSocket);
    this.#peers = PeersFile.read(settings.peersFile);
    const { steering } = settings;
    this.#book = new SaBook(
      {
        ready: (record) => void this.#care.take(record),
        changed: (record) => void this.#care.changed(record),
        gone: (record) => void this.#care.gone(record),
        unsupported: (spi, peerId, why) => this.#care.leaveOut(spi, peerId, why),
      },
      {
        ipv6: steering.kind === 'local' || steering.nodeAddress6 !== '',
        wasInCare: (record) => this.#gaps.wasSteered(record),
      },
    );
    this.#guard = new PathGuard(
      steering,
      settings.shards,
      settings.installRules,
      (shard, path) => this.#agent.path(shard, path),
      log,
    );
    const list: ListSas = (wanted, uniqueId) =>
      listSas(this.#vici, uniqueId === undefined ? {} : { 'ike-id': uniqueId }, (sa) => {
        // An event may have announced an SA before the feed did.
        this.#book.takeListed(sa);
        return wanted(sa);
      });
    this.#looks = new Looks(list);
    this.#gaps = new FeedGaps({
      resync: () => this.#feed.resync(),
      lost: () => this.#feed.lost(),
      rekey: (uniqueId) => this.#vici.request('rekey', { 'ike-id': uniqueId }),
      leaveOut: ({ spi, remoteId }, why) => this.#care.leaveOut(spi, remoteId, why),
      log,
    });
    this.#parking = new Parking({
      setNextIds: (ids) => this.#feed.setNextIds(ids),
      list,
      stands: (spi) => this.#book.get(spi) !== undefined,
      now: () => performance.now(),
    });
  }

  async start(agent: AgentSide): Promise<void> {
    this.#agent = agent;
    this.#care = new Care({
      agent,
      guard: this.#guard,
      parking: this.#parking,
      peers: this.#peers,
      log: this.#log,
      stands: (record) => this.#book.get(record.spi) === record,
    });
    const { haAddress, charonHaAddress } = this.#settings;
    this.#feed = await HaFeed.open(haAddress, charonHaAddress, this.#log, {
      message: (message) => this.#book.take(message),
      restarted: () => this.#log.warn('charon has started anew'),
    });
    const deadline = performance.now() + FEED_MS;
    while (!this.#feed.alive) {
      if (performance.now() > deadline)
        throw new SettingsError(
          this.#feed.misunderstood
            ? `charon's ha plugin is not understood: ${this.#feed.misunderstood}`
            : `charon's ha plugin was not heard on ${haAddress} within ${FEED_MS} ms`,
        );
      await sleep(50);
    }
    this.#events = new ViciEvents(this.#settings.viciSocket, EVENTS, (_name, message) => {
      for (const sa of readSas(message)) this.#book.takeListed(sa);
    });
    const { peersFile } = this.#settings;
    this.#unwatchPeers = watchFiles(peersFile === undefined ? [] : [peersFile], () => this.#rereadPeers());
    this.#started = true;
    this.#beginIfReady();
  }

  connected(shard: number, probe: ProbeSource, held: readonly HeldSa[], common?: Policy): void {
    this.#useClusterPolicy(common ? membersOf(common) : {});
    // What it held when it was connected before may be gone.
    if (!this.#beginning) this.#held.set(shard, held);
    this.#guard.setProbe(shard, probe);
    this.#connected.add(shard);
    this.#beginIfReady();
  }

  /** The hub can be taken over once charon's feed is heard and every shard has an owner. */
  #beginIfReady(): void {
    if (this.#beginning || !this.#started || this.#connected.size < this.#settings.shards) return;
    this.#beginning = true;
    void this.#beginAtLast();
  }

  /** charon may be restarting just now: tries until it answers. */
  async #beginAtLast(): Promise<void> {
    while (!this.#stopping)
      try {
        return await this.#begin();
      } catch (error) {
        this.#log.error({ reason: (error as Error).message }, 'the hub cannot be taken over yet');
        await sleep(BEGIN_AGAIN_MS);
      }
  }

  disconnected(shard: number): void {
    this.#connected.delete(shard);
  }

  held(spis: readonly string[]): void {
    for (const spi of spis) this.#care.held(spi);
  }

  /** charon sends them again. Parked SAs stay parked, and their message ids are searched for. */
  keysWanted(spis: readonly string[]): void {
    for (const spi of spis) {
      const record = this.#book.get(spi);
      if (record) record.heldKeys = false;
    }
    void this.#gaps.resync(`keys of ${spis.length} SAs are not known to the node`);
  }

  released(spi: string, nextMessageId: number | undefined): void {
    if (this.#stopping) this.#released.set(spi, nextMessageId);
  }

  apply(verdict: Verdict): Promise<Applied> {
    return applyVerdict(
      {
        vici: this.#vici,
        looks: this.#looks,
        viciSocket: this.#settings.viciSocket,
        peers: this.#peers,
        log: this.#log,
        uniqueId: (spi) => this.#book.get(spi)?.uniqueId,
        otherSa: (peerId, spi) => this.#otherSa(peerId, spi),
        alive: (spi, ageMs) => this.#agent.evidence([spi], [], Math.round(ageMs)),
      },
      verdict,
    );
  }

  /** SAs without keys are not registered, so none is ever delegated. */
  async probe(): Promise<boolean> {
    return false;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#unwatchPeers();
    clearTimeout(this.#timer);
    this.#care?.stop();
    this.#gaps.stop();
    this.#guard.suspend();
    if (this.#settings.releaseOnStop && this.#beginning) await this.#release();
    this.#parking.stop();
    this.#events?.close();
    this.#kernel.close();
    this.#guard.close();
    this.#vici.close();
    await this.#feed?.close();
  }

  async #begin(): Promise<void> {
    const held = new Map([...this.#held.values()].flat().map((sa) => [spiHex(sa.id), sa]));
    const inCare = (await listSas(this.#vici)).filter(({ spi }) => held.get(spi)?.nextMessageId !== undefined);
    const { stands, steered } = await this.#guard.adopt(inCare.map(careOf));
    this.#gaps.setSteered(steered);
    for (const sa of inCare) {
      const { nextMessageId, parked } = held.get(sa.spi)!;
      this.#book.takeHeld(sa, nextMessageId!, parked);
    }
    this.#aimCanaries();
    await this.#guard.start();
    // If the cluster does not hold an SA yet, only charon has its keys.
    if (inCare.length === 0 && !stands) await this.#gaps.resync('the agent begins');
    else this.#log.info({ sas: inCare.length }, 'going on where a former agent stopped');
    this.#held.clear();
    await this.#compare(await listSas(this.#vici), new Set());
    this.#aimCanaries();
    this.#agent.complete();
    this.#poll();
  }

  /** The cluster's own policy, as the node just connected has it. */
  #useClusterPolicy(members: Members): void {
    if (JSON.stringify(members) === JSON.stringify(this.#cluster)) return;
    this.#cluster = members;
    this.#rereadPeers();
  }

  /** The peers file, or the cluster's policy, has changed: SAs whose peer's settings are others are registered again. They keep their liveness. */
  #rereadPeers(): void {
    try {
      const isChanged = this.#peers.replace(PeersFile.read(this.#settings.peersFile, this.#cluster));
      const changed = [...this.#book.ready()].filter(({ peerId }) => isChanged(peerId));
      for (const record of changed) void this.#care.changed(record);
      this.#log.info({ sas: changed.length }, 'policies read again');
    } catch (error) {
      this.#log.error({ reason: (error as Error).message }, 'the changed policies are wrong: the former ones count');
    }
  }

  /** The peer's newest SA besides the one that died. */
  #otherSa(peerId: string, spi: string): string | undefined {
    let other: string | undefined;
    for (const record of this.#book.ready()) if (record.peerId === peerId && record.spi !== spi) other = record.spi;
    return other;
  }

  #shardOf(record: SaRecord): number {
    return shardOf(record.id.spiR.readBigUInt64BE(), this.#settings.shards);
  }

  #poll(): void {
    this.#timer = setTimeout(async () => {
      try {
        await this.#lookAtTraffic();
      } catch (error) {
        this.#log.warn({ reason: (error as Error).message }, 'charon cannot be asked');
      }
      if (!this.#stopping) this.#poll();
    }, this.#settings.pollMs);
  }

  /**
   * Counters come from the kernel; from charon if the kernel has none, and now and then for data that only charon has.
   */
  async #lookAtTraffic(): Promise<void> {
    this.#aimCanaries();
    const onDemand = (record: SaRecord) => this.#peers.get(record.peerId).policy.mode === Mode.ON_DEMAND;
    const seen = this.#kernel.look(this.#book.ready(), onDemand);
    if (seen) this.#agent.evidence(seen.heard, seen.sent, 0);
    const listDue = performance.now() - this.#listedAt >= LIST_MS || this.#gaps.any;
    if (seen && !listDue) return;
    this.#listedAt = performance.now();
    const known = new Set(Array.from(this.#book.ready(), ({ spi }) => spi));
    const sas = await listSas(this.#vici);
    if (!seen) for (const { heard, sent, ageMs } of this.#traffic.look(sas)) this.#agent.evidence(heard, sent, ageMs);
    await this.#compare(sas, known);
    await this.#readSettings();
  }

  /** Logs charon's settings that matter, at the start and when they change. */
  async #readSettings(): Promise<void> {
    if (performance.now() - this.#settingsAt < SETTINGS_MS) return;
    this.#settingsAt = performance.now();
    const concerns = await readConcerns(this.#vici);
    for (const concern of concerns)
      if (!this.#concerns.includes(concern)) this.#log.warn({ concern }, "charon's settings");
    this.#concerns = concerns;
  }

  /**
   * The feed may lose a datagram. vici's list is reliable for SAs that were known before it was requested.
   * @param known SPI pairs ready before the list was made
   */
  async #compare(sas: readonly ListedSa[], known: ReadonlySet<string>): Promise<void> {
    const listed = new Set(sas.map(({ spi }) => spi));
    for (const record of this.#book.ready())
      if (known.has(record.spi) && !listed.has(record.spi)) this.#book.drop(record);
    this.#care.keepUnwatched(listed);
    for (const sa of sas) this.#book.takeListed(sa);
    this.#agent.leftOut(
      Array.from(this.#care.unwatched, ([spi, { peer, why }]) => ({ id: spiFromHex(spi), peerId: peer, why })),
    );
    await this.#gaps.close(
      sas,
      (sa) => !sa.established || sa.busy || this.#book.get(sa.spi) !== undefined || this.#care.unwatched.has(sa.spi),
    );
  }

  /** On each way canaries go to a spoke of the shard. */
  #aimCanaries(): void {
    const targets = Array.from({ length: this.#settings.shards }, () => new Map<string, Target>());
    for (const record of this.#book.ready()) {
      const { local, remote } = record;
      const ofShard = targets[this.#shardOf(record)]!;
      const end = endName(local!);
      if (!ofShard.has(end)) ofShard.set(end, remote!);
    }
    targets.forEach((ofShard, shard) => this.#guard.setTargets(shard, ofShard));
  }

  /**
   * Gives all SAs back: probing ends, late answers get their time and show the shards the next ids, charon's counters are set to their
   * true values, and the rules are removed.
   */
  async #release(): Promise<void> {
    await sleep(this.#settings.lingerMs);
    const { parked, left } = await giveBack([...this.#book.ready()], {
      remove: ({ spi }) => this.#agent.remove(spiFromHex(spi)),
      released: this.#released,
      unpark: async (record, nextId) => isIkev1(record) || this.#parking.unpark(record, nextId),
      dropCare: (record) => this.#guard.dropCare(careOf(record)),
    });
    this.#log.info({ sas: parked.length, stayParked: left.length }, 'SAs given back');
    if (left.length === 0) {
      await this.#guard.remove();
      return;
    }
    // Answers on SAs given back go to charon.
    await this.#guard.syncCare();
    this.#log.error(
      { sas: left.length, first: left.slice(0, NAMED).map(({ peerId }) => peerId) },
      'SAs stay parked, and the rules stay for the next agent: charon must not send requests on them',
    );
  }
}
