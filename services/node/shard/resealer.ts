/**
 * Has a shard's keys in Redis sealed with the vault's first key, where they are with another: some at a time, beside all else. What
 * changes meanwhile is sealed with the first key anyway, and left as it is.
 */

import { placeOfKeys, type Vault } from '../../../workers/keys/vault.ts';
import { keysOf } from '../../../workers/sa/sa-page.ts';
import type { ShardId } from '../../store/keys.ts';
import type { ShardStore, StoredPage } from '../../store/shard/shard-store.ts';

/** Bytes of an SPI pair in hex. */
const SPI_LENGTH = 32;

export class Resealer {
  readonly #id: ShardId;
  readonly #store: Pick<ShardStore, 'readSas' | 'reseal'>;
  readonly #vault: Vault;
  readonly #pages: AsyncGenerator<StoredPage>;
  /** SAs whose keys are sealed anew, and those whose keys no key of the vault opens. */
  readonly count = { resealed: 0, unreadable: 0 };

  constructor(id: ShardId, store: Pick<ShardStore, 'readSas' | 'reseal'>, vault: Vault) {
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
