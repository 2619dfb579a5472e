/**
 * Too many deaths are one failure. Watches the outcomes of peers, by shard, headend, site and for the whole node, and says
 * when our own blindness is a likelier reason for a verdict than the peer's death.
 *
 * It looks at the share of silent peers among those that were due lately. After a cut the last outcomes are all bad, while
 * good ones from before still fill the window. So it looks at every stretch of time that ends now, beginning with the
 * shortest one that has enough outcomes.
 */

import type { OutcomeCounts } from '../../../workers/shard/protocol.ts';
import type { Clock } from '../../base/clock.ts';
import type { ShardId } from '../../store/keys.ts';

export type StormSettings = {
  /** Share of silent peers from which it is a storm, 0 to 1; 0 switches the guard off. */
  readonly share: number;
  /** Minimum number of silent peers for a storm. */
  readonly count: number;
  /** How far back is looked, ms. */
  readonly windowMs: number;
};

/** Why a verdict is held back. */
export type StormReason = {
  readonly scope: 'node' | 'headend' | 'shard' | 'site';
  /** Headend, shard or site concerned. */
  readonly name: string;
  readonly silent: number;
  readonly asked: number;
  /** Too few for a storm, but all that were probed. */
  readonly small: boolean;
};

/** A held verdict's reason in one line. */
export function describeStorm({ scope, name, silent, asked }: StormReason): string {
  return `${scope}${name === '' ? '' : ` ${name}`}: ${silent} of ${asked} peers silent`;
}

const BUCKET_MS = 250;
/** A node that gets no answer from so many peers, and none from any other, suspects itself. */
const ISOLATED_COUNT = 5;
/** If so many peers of a headend fall silent together and no other was probed, that is as suspicious as a thousand. */
const SMALL_COUNT = 2;

/** Outcomes of the last seconds in buckets. */
class OutcomeWindow {
  readonly #well: Uint32Array;
  readonly #silent: Uint32Array;
  #last = 0;

  constructor(windowMs: number) {
    const buckets = Math.max(1, Math.ceil(windowMs / BUCKET_MS));
    this.#well = new Uint32Array(buckets);
    this.#silent = new Uint32Array(buckets);
  }

  add(well: number, silent: number, nowMs: number): void {
    this.#turn(nowMs);
    const bucket = this.#last % this.#well.length;
    this.#well[bucket]! += well;
    this.#silent[bucket]! += silent;
  }

  /** The shortest stretch up to now with `count` silent peers at a share of `share` or more, if there is one. */
  storm(share: number, count: number, nowMs: number): { silent: number; asked: number } | undefined {
    this.#turn(nowMs);
    let well = 0;
    let silent = 0;
    for (let back = 0; back < this.#well.length && back <= this.#last; back++) {
      const bucket = (this.#last - back) % this.#well.length;
      well += this.#well[bucket]!;
      silent += this.#silent[bucket]!;
      if (silent >= count && silent >= share * (silent + well)) return { silent, asked: silent + well };
    }
    return undefined;
  }

  /** The number of peers probed in the whole window, if there are at least so many and all are silent. */
  allSilent(count: number, nowMs: number): { silent: number; asked: number } | undefined {
    this.#turn(nowMs);
    const silent = this.#silent.reduce((sum, n) => sum + n, 0);
    return silent >= count && this.#well.every((n) => n === 0) ? { silent, asked: silent } : undefined;
  }

  /** Whether any peer was probed lately. */
  empty(nowMs: number): boolean {
    this.#turn(nowMs);
    return this.#well.every((count, n) => count + this.#silent[n]! === 0);
  }

  #turn(nowMs: number): void {
    const bucket = Math.floor(nowMs / BUCKET_MS);
    const { length } = this.#well;
    for (let next = Math.max(this.#last + 1, bucket - length + 1); next <= bucket; next++) {
      this.#well[next % length] = 0;
      this.#silent[next % length] = 0;
    }
    this.#last = Math.max(this.#last, bucket);
  }
}

type Scope = { readonly window: OutcomeWindow; storm: StormReason | undefined };

/** Name of a site by its number, '' for none. */
export type SiteName = (site: number) => string;

export class StormGuard {
  readonly #settings: StormSettings;
  readonly #clock: Clock;
  readonly #siteName: SiteName;
  readonly #scopes = new Map<string, Scope>();
  /** The counts that each shard last reported. */
  readonly #told = new Map<string, OutcomeCounts>();

  constructor(settings: StormSettings, clock: Clock, siteName: SiteName) {
    this.#settings = settings;
    this.#clock = clock;
    this.#siteName = siteName;
  }

  /** A shard reports its counts so far. */
  outcomes(id: ShardId, counts: OutcomeCounts): void {
    if (this.#settings.share === 0) return;
    const key = shardName(id);
    const told = this.#told.get(key);
    this.#told.set(key, counts);
    for (let site = 0; site < counts.well.length; site++) {
      const well = counts.well[site]! - (told?.well[site] ?? 0);
      const silent = counts.silent[site]! - (told?.silent[site] ?? 0);
      if (well + silent === 0) continue;
      for (const scope of this.#scopesOf(id, site)) scope.window.add(well, silent, this.#clock.now());
    }
  }

  /** Why a verdict on a peer of this shard and site should wait, or undefined if it should not. */
  reason(id: ShardId, site: number): StormReason | undefined {
    if (this.#settings.share === 0) return undefined;
    const now = this.#clock.now();
    const { share, count } = this.#settings;
    for (const [kind, name] of this.#namesOf(id, site)) {
      const scope = this.#scope(kind, name);
      const [needed, from] = kind === 'node' ? [1, Math.min(ISOLATED_COUNT, count)] : [share, count];
      // A storm ends when the share has halved, so that it does not flicker. It does not end because no peer is probed.
      const found = scope.window.storm(scope.storm ? needed / 2 : needed, from, now);
      const few = found || kind !== 'headend' ? undefined : scope.window.allSilent(SMALL_COUNT, now);
      if (found) scope.storm = { scope: kind, name, small: false, ...found };
      else if (few) scope.storm = { scope: kind, name, small: true, ...few };
      else if (!scope.window.empty(now)) scope.storm = undefined;
      if (scope.storm) return scope.storm;
    }
    return undefined;
  }

  /** The shard has gone, or starts to count anew. */
  forget(id: ShardId): void {
    this.#told.delete(shardName(id));
    this.#scopes.delete(`shard ${shardName(id)}`);
  }

  #namesOf(id: ShardId, site: number): [StormReason['scope'], string][] {
    const names: [StormReason['scope'], string][] = [
      ['node', ''],
      ['headend', id.headend],
      ['shard', shardName(id)],
    ];
    const label = this.#siteName(site);
    if (label !== '') names.push(['site', `${id.headend}/${label}`]);
    return names;
  }

  #scopesOf(id: ShardId, site: number): Scope[] {
    return this.#namesOf(id, site).map(([kind, name]) => this.#scope(kind, name));
  }

  #scope(kind: StormReason['scope'], name: string): Scope {
    const key = `${kind} ${name}`;
    let scope = this.#scopes.get(key);
    if (!scope) {
      scope = { window: new OutcomeWindow(this.#settings.windowMs), storm: undefined };
      this.#scopes.set(key, scope);
    }
    return scope;
  }
}

function shardName({ headend, shard }: ShardId): string {
  return `${headend}/${shard}`;
}
