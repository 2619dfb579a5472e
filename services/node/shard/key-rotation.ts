/**
 * Has a shard's keys in Redis sealed with the vault's first key, where they are with another: some at a time, beside all else. What
 * changes meanwhile is sealed with the first key anyway, and left as it is.
 */

import { placeOfKeys, type Vault } from '../../../workers/keys/vault.ts';
import { keysOf } from '../../../workers/sa/sa-page.ts';
import type { Logger } from '../../base/log.ts';
import type { ShardId } from '../../store/keys.ts';
import type { ShardStore, StoredPage } from '../../store/shard/shard-store.ts';

/** Bytes of an SPI pair in hex. */
const SPI_LENGTH = 32;
/** Pages of SAs that are looked at in a round. */
const PAGES = 4;

type Store = Pick<ShardStore, 'readSas' | 'reseal'>;

export class KeyRotation {
  readonly #id: ShardId;
  readonly #store: Store;
  readonly #vault: Vault;
  readonly #log: Logger;
  /** At work while keys may be sealed with another key than the first. */
  #pass: Pass | undefined;

  constructor(id: ShardId, store: Store, vault: Vault, log: Logger) {
    this.#id = id;
    this.#store = store;
    this.#vault = vault;
    this.#log = log;
  }

  /** Goes through all from the beginning. With one key nothing can be sealed with another and be opened. */
  begin(): void {
    this.#pass = this.#vault.keys.length > 1 ? new Pass(this.#id, this.#store, this.#vault) : undefined;
  }

  /** Does some of what there is to do. Rejects as the store does; then it is begun again. */
  async round(): Promise<void> {
    const pass = this.#pass;
    if (!pass) return;
    for (let n = 0; n < PAGES; n++) {
      try {
        if (await pass.step()) continue;
      } catch (error) {
        this.begin();
        throw error;
      }
      if (this.#pass === pass) this.#passed(pass);
      return;
    }
  }

  /** What was on its way to Redis may have another key still: that is seen when a pass finds nothing any more. */
  #passed({ count }: Pass): void {
    const key = this.#vault.sealsWith;
    if (count.resealed > 0) {
      this.#log.info({ ...count, key }, 'keys sealed anew');
      this.begin();
      return;
    }
    this.#pass = undefined;
    this.#log.info({ ...count, key }, 'all keys of the shard are sealed with the first key of the vault');
  }
}

/** Once through all SAs of a shard. */
class Pass {
  readonly #id: ShardId;
  readonly #store: Store;
  readonly #vault: Vault;
  readonly #pages: AsyncGenerator<StoredPage>;
  /** SAs whose keys are sealed anew, and those whose keys no key of the vault opens. */
  readonly count = { resealed: 0, unreadable: 0 };

  constructor(id: ShardId, store: Store, vault: Vault) {
    this.#id = id;
    this.#store = store;
    this.#vault = vault;
    this.#pages = store.readSas();
  }

  /** Does a page. False if there was none left. Rejects as the store does; then what is left is for another. */
  async step(): Promise<boolean> {
    const { value: page, done } = await this.#pages.next();
    if (done) return false;
    const { ends } = page.records;
    const changes: { spi: string; from: Buffer; to: Buffer }[] = [];
    for (let n = 0; n < ends.length; n++) {
      const keys = keysOf(page.records, n);
      if (!keys || this.#vault.isSealedAnew(keys)) continue;
      const spi = page.spis.toString('latin1', n * SPI_LENGTH, (n + 1) * SPI_LENGTH);
      const from = Buffer.from(page.records.bytes.subarray(n === 0 ? 0 : ends[n - 1]!, ends[n]!));
      const to = this.#resealed(spi, from.subarray(0, from.length - keys.length), keys);
      if (to) changes.push({ spi, from, to });
    }
    if (changes.length > 0) await this.#store.reseal(changes);
    this.count.resealed += changes.length;
    return true;
  }

  #resealed(spi: string, rest: Uint8Array, keys: Uint8Array): Buffer | undefined {
    const place = placeOfKeys(this.#id.headend, spi);
    try {
      return Buffer.concat([rest, this.#vault.seal(this.#vault.open(keys, place), place)]);
    } catch {
      this.count.unreadable++;
      return undefined;
    }
  }
}
