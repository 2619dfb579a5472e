/**
 * Has verdicts in Redis made with the cluster's first key, where they are made with another: a page at a time. Entries of the log stay as
 * they are: once the old key is gone, watches pass them over.
 */

import type { Logger } from '../../base/log.ts';
import type { RecordMac } from '../../store/record-mac.ts';
import type { MacCursor, ShardStore } from '../../store/shard/shard-store.ts';

export class MacRotation {
  readonly #store: Pick<ShardStore, 'authenticateAnew'>;
  readonly #mac: Pick<RecordMac, 'rotating'>;
  readonly #log: Logger;
  #rotating = false;
  #at: MacCursor | undefined;
  /** Made anew in this pass. */
  #count = 0;

  constructor(store: Pick<ShardStore, 'authenticateAnew'>, mac: Pick<RecordMac, 'rotating'>, log: Logger) {
    this.#store = store;
    this.#mac = mac;
    this.#log = log;
  }

  /** Goes through all from the beginning. With one key there is nothing that could be made anew. */
  begin(): void {
    this.#rotating = this.#mac.rotating;
    this.#at = undefined;
    this.#count = 0;
  }

  /** Does a page. Rejects as the store does; then that page is done again. */
  async round(): Promise<void> {
    if (!this.#rotating) return;
    const { count, next } = await this.#store.authenticateAnew(this.#at);
    this.#count += count;
    this.#at = next;
    if (next) return;
    // What other nodes wrote meanwhile is seen when a pass finds nothing any more.
    if (this.#count > 0) this.begin();
    else {
      this.#rotating = false;
      this.#log.info('all verdicts of the shard are made with the first key of the cluster');
    }
  }
}
