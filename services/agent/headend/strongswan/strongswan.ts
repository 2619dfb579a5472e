/**
 * strongSwan as a data plane. The order in which an SA is taken into care, and given back, is the point of this file:
 * a reply to our probe that reaches charon with the id it expects makes it destroy the live SA.
 *
 * Taking: the rules stand -> the cluster holds the SA with its keys -> charon's request counter is parked -> probing.
 * Nothing is parked that the cluster does not know, so that whoever comes after a crash knows what is parked.
 * Giving back: probing ends -> the node says the next id -> late replies have their time -> unpark -> rules down.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Verdict } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { shardOf, spiFromHex, spiHex } from '../../../api/spi.ts';
import type { Logger } from '../../../base/log.ts';
import { SettingsError } from '../../../base/settings.ts';
import type { AgentSide, Applied, DataPlane, HeldSa, ProbeSource } from '../headend.ts';
import { PathGuard } from '../nftables/path-guard.ts';
import { passReplies, readRules, type Steering } from '../nftables/rules.ts';
import { PeersFile } from '../peers-file.ts';
import { applyVerdict } from './apply-verdict.ts';
import { HaFeed } from './ha/ha-feed.ts';
import { PARKED_ID, SaBook, type SaRecord, toApiSa } from './sa-book.ts';
import { TrafficWatch } from './traffic.ts';
import { ViciClient } from './vici/client.ts';
import { type ListedSa, listSas } from './vici/sas.ts';

export type StrongSwanSettings = {
  readonly viciSocket: string;
  /** Our address, charon's `remote`; and charon's, its `local`. */
  readonly haAddress: string;
  readonly charonHaAddress: string;
  readonly shards: number;
  readonly steering: Steering;
  /** Rules are ours to write; else we only watch them. */
  readonly installRules: boolean;
  readonly peersFile: string | undefined;
  /** How often counters are read, ms. */
  readonly pollMs: number;
  /** How long late replies have between the last probe and unparking, ms. */
  readonly lingerMs: number;
  /** A clean stop gives SAs back; else it leaves everything standing for the next agent. */
  readonly releaseOnStop: boolean;
};

const FEED_MS = 10_000;
/** After RESYNC charon rekeys child SAs; these exchanges must have ended before anything is parked. */
const RESYNC_QUIET_MS = 1_500;
const RESYNC_MS = 15_000;
const RELEASE_MS = 10_000;
const BEGIN_AGAIN_MS = 1_000;
/** Parking is a datagram without an answer: it is sent twice, this far apart. */
const PARK_AGAIN_MS = 100;
/** Polls that must miss an SA in the feed before it is rekeyed to learn its keys. */
const MISSED_POLLS = 2;

export class StrongSwanDataPlane implements DataPlane {
  readonly #settings: StrongSwanSettings;
  readonly #log: Logger;
  readonly #vici: ViciClient;
  readonly #peers: PeersFile;
  readonly #book: SaBook;
  readonly #guard: PathGuard;
  readonly #traffic = new TrafficWatch();
  /** What each shard held when it was connected last, until the hub is taken over. */
  readonly #held = new Map<number, readonly HeldSa[]>();
  readonly #connected = new Set<number>();
  readonly #released = new Map<string, number | undefined>();
  /** Polls in a row that an SA was listed but not in the feed. */
  readonly #missing = new Map<string, number>();
  /** SAs whose replies charon gets while it rekeys them, by SPI pair. */
  readonly #passed = new Set<string>();
  /** SAs told to the cluster: from then on changes are told too. */
  readonly #inCare = new WeakSet<SaRecord>();
  /** Who waits for the cluster to hold an SA, by SPI pair. */
  readonly #awaited = new Map<string, () => void>();
  /** SAs on their way into care. */
  readonly #taking = new Set<Promise<void>>();
  /** charon sends no more requests of its own, and the rules stand: SAs may be parked. */
  readonly #open = Promise.withResolvers<void>();
  #agent!: AgentSide;
  #feed!: HaFeed;
  #revision = Math.floor(Date.now() / 1_000) >>> 0;
  #timer: NodeJS.Timeout | undefined;
  #started = false;
  #beginning = false;
  #stopping = false;

  /** Throws SettingsError on a peers file that cannot be used. */
  constructor(settings: StrongSwanSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#vici = new ViciClient(settings.viciSocket);
    this.#peers = PeersFile.read(settings.peersFile);
    this.#book = new SaBook({
      ready: (record) => {
        const taken = this.#takeIntoCare(record).finally(() => this.#taking.delete(taken));
        this.#taking.add(taken);
      },
      changed: (record) => {
        if (this.#inCare.has(record)) void this.#register(record);
      },
      gone: (record) => {
        this.held([record.spi]);
        this.#agent.remove(spiFromHex(record.spi));
      },
      unsupported: (spi, why) => log.warn({ sa: spi, why }, 'SA not watched'),
    });
    this.#guard = new PathGuard(
      settings.steering,
      settings.shards,
      settings.installRules,
      {
        path: (shard, path) => this.#agent.path(shard, path),
        // Canary numbers start at random: a shard ignores those that are not its own.
        vouch: (canary) => {
          for (let shard = 0; shard < settings.shards; shard++) this.#agent.vouch(shard, canary);
        },
      },
      log,
    );
  }

  async start(agent: AgentSide): Promise<void> {
    this.#agent = agent;
    const { haAddress, charonHaAddress } = this.#settings;
    this.#feed = await HaFeed.open(haAddress, charonHaAddress, this.#log, (message) => this.#book.take(message));
    const deadline = performance.now() + FEED_MS;
    while (!this.#feed.alive) {
      if (performance.now() > deadline)
        throw new SettingsError(`charon's ha plugin was not heard on ${haAddress} within ${FEED_MS} ms`);
      await sleep(50);
    }
    this.#started = true;
    this.#beginIfReady();
  }

  connected(shard: number, probe: ProbeSource, held: readonly HeldSa[]): void {
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
    for (const spi of spis) {
      this.#awaited.get(spi)?.();
      this.#awaited.delete(spi);
    }
  }

  lost(spis: readonly string[]): void {
    // Out of the book, vici's list will show them as unknown, and they are rekeyed to learn their successors' keys.
    for (const spi of spis) {
      const record = this.#book.get(spi);
      if (record) this.#book.drop(record);
    }
  }

  released(spi: string, nextMessageId: number | undefined): void {
    if (this.#stopping) this.#released.set(spi, nextMessageId);
  }

  apply(verdict: Verdict): Promise<Applied> {
    return applyVerdict(this.#vici, this.#peers, verdict, this.#log);
  }

  /** SAs without keys are not registered, so none is ever delegated. */
  async probe(): Promise<boolean> {
    return false;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#guard.suspend();
    if (this.#settings.releaseOnStop) await this.#release();
    this.#vici.close();
    await this.#feed.close();
  }

  async #begin(): Promise<void> {
    const [listed, rules] = await Promise.all([listSas(this.#vici), readRules()]);
    const held = new Map([...this.#held.values()].flat().map((sa) => [spiHex(sa.id), sa.nextMessageId]));
    const inCare = listed.filter(({ spi }) => held.get(spi) !== undefined);
    if (inCare.length > 0 || rules.inbound) {
      // A former agent's SAs are parked: RESYNC would make charon send requests on them that no spoke answers.
      this.#log.info({ sas: inCare.length }, 'going on where a former agent stopped');
      for (const sa of inCare) this.#book.takeHeld(sa, held.get(sa.spi)!);
    } else await this.#resync();
    this.#held.clear();
    await this.#guard.start();
    this.#open.resolve();
    await Promise.all(this.#taking);
    this.#agent.complete();
    this.#poll();
  }

  async #resync(): Promise<void> {
    this.#feed.resync();
    const deadline = performance.now() + RESYNC_MS;
    for (;;) {
      await sleep(250);
      const busy = (await listSas(this.#vici)).some((sa) => sa.busy);
      if (!busy && this.#feed.quietMs > RESYNC_QUIET_MS) return;
      if (performance.now() > deadline) {
        this.#log.warn('charon is still busy after RESYNC');
        return;
      }
    }
  }

  async #takeIntoCare(record: SaRecord): Promise<void> {
    // Until RESYNC has settled charon still sends requests of its own: parking waits for that.
    await this.#open.promise;
    this.#inCare.add(record);
    if (!record.heldKeys) {
      const held = new Promise<void>((resolve) => this.#awaited.set(record.spi, resolve));
      await this.#register(record);
      await held;
    }
    const standing = () => this.#book.get(record.spi) === record && !this.#stopping;
    if (!standing()) return;
    this.#park(record);
    await sleep(PARK_AGAIN_MS);
    if (!standing()) return;
    this.#park(record);
    record.parked = true;
    await this.#register(record);
    const shard = this.#shardOf(record);
    if (this.#guard.target(shard) === undefined) this.#guard.setTarget(shard, record.remote);
  }

  #park(record: SaRecord): void {
    this.#feed.setNextId(record.id, PARKED_ID);
  }

  /** Registers an SA or its change, once the rules know from which of the hub's addresses its probes leave. */
  async #register(record: SaRecord): Promise<void> {
    try {
      await this.#guard.addSource({ ...record.remote!, local: record.local!.address });
    } catch (error) {
      // The rules do not stand, so nothing is probed; they are filled again before anything is.
      this.#log.warn({ sa: record.spi, reason: (error as Error).message }, 'source not steered yet');
    }
    if (this.#stopping || this.#book.get(record.spi) !== record) return;
    this.#agent.upsert(toApiSa(record, this.#peers.get(record.peerId), ++this.#revision));
  }

  #shardOf(record: SaRecord): number {
    return shardOf(record.id.spiR.readBigUInt64BE(), this.#settings.shards);
  }

  #poll(): void {
    this.#timer = setTimeout(async () => {
      try {
        const known = new Set(Array.from(this.#book.ready(), ({ spi }) => spi));
        const sas = await listSas(this.#vici);
        for (const { heard, sent, ageMs } of this.#traffic.look(sas)) this.#agent.evidence(heard, sent, ageMs);
        await this.#compare(sas, known);
      } catch (error) {
        this.#log.warn({ reason: (error as Error).message }, 'charon cannot be asked');
      }
      if (!this.#stopping) this.#poll();
    }, this.#settings.pollMs);
  }

  /**
   * The feed may lose a datagram; vici's list is the truth, about SAs known before it was asked for.
   * @param known SPI pairs ready before the list was made
   */
  async #compare(sas: readonly ListedSa[], known: ReadonlySet<string>): Promise<void> {
    const listed = new Map(sas.map((sa) => [sa.spi, sa]));
    for (const record of this.#book.ready())
      if (known.has(record.spi) && !listed.has(record.spi)) this.#book.drop(record);
    for (const spi of this.#missing.keys()) if (!listed.has(spi)) this.#missing.delete(spi);
    for (const spi of this.#passed)
      if (!listed.has(spi)) {
        this.#passed.delete(spi);
        await passReplies(Number.parseInt(spi.slice(-8), 16), false);
      }
    for (const sa of sas) {
      this.#book.takeListed(sa);
      if (!sa.established || sa.busy || this.#book.get(sa.spi)) continue;
      const polls = (this.#missing.get(sa.spi) ?? 0) + 1;
      this.#missing.set(sa.spi, polls);
      if (polls >= MISSED_POLLS && !this.#passed.has(sa.spi)) await this.#learnKeys(sa);
    }
    this.#aimCanaries();
  }

  /** Canaries go to a spoke of the shard that stands; sources of spokes that are gone are dropped. */
  #aimCanaries(): void {
    const remotes = new Set<string>();
    const first = new Array<SaRecord | undefined>(this.#settings.shards).fill(undefined);
    const aimed = new Set<number>();
    for (const record of this.#book.ready()) {
      if (!this.#inCare.has(record)) continue;
      const shard = this.#shardOf(record);
      const { address, port } = record.remote!;
      remotes.add(`${address}:${port}`);
      first[shard] ??= record;
      const target = this.#guard.target(shard);
      if (target?.address === address && target.port === port) aimed.add(shard);
    }
    first.forEach((record, shard) => {
      if (!aimed.has(shard)) this.#guard.setTarget(shard, record?.remote);
    });
    this.#guard.keepSources(remotes);
  }

  /** An SA that the feed never told of: rekeying brings its successor, with keys. charon needs the replies for that. */
  async #learnKeys(sa: ListedSa): Promise<void> {
    this.#log.warn({ sa: sa.spi, peer: sa.remoteId }, 'SA is not in the feed: rekeyed to learn its keys');
    await passReplies(sa.id.spiR.readUInt32BE(4), true);
    this.#passed.add(sa.spi);
    await this.#vici.request('rekey', { 'ike-id': sa.uniqueId });
  }

  async #release(): Promise<void> {
    const records = [...this.#book.ready()];
    for (const { spi } of records) this.#agent.remove(spiFromHex(spi));
    const deadline = performance.now() + RELEASE_MS;
    while (records.some(({ spi }) => !this.#released.has(spi)) && performance.now() < deadline) await sleep(20);
    await sleep(this.#settings.lingerMs);
    const unpark = () => {
      for (const { id, spi } of records) {
        const mid = this.#released.get(spi);
        // charon ignores an id of 0; an SA that was never probed stays parked, and no reply can come for it.
        if (mid) this.#feed.setNextId(id, mid);
      }
    };
    unpark();
    await sleep(PARK_AGAIN_MS);
    unpark();
    await sleep(PARK_AGAIN_MS);
    const unknown = records.filter(({ spi }) => this.#released.get(spi) === undefined);
    const neverProbed = records.filter(({ spi }) => this.#released.get(spi) === 0);
    this.#log.info({ sas: records.length, neverProbed: neverProbed.length, unknown: unknown.length }, 'SAs given back');
    if (unknown.length > 0)
      this.#log.error({ sas: unknown.length }, 'next ids unknown: SAs stay parked and the inbound rule stays');
    else await this.#guard.remove();
  }
}
