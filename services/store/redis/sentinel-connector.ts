/** How ioredis finds the master through Sentinels, with one fault of it kept out. */

import { type SentinelConnectionOptions, SentinelConnector } from 'ioredis';

/**
 * ioredis hears of failovers through ears that outlive the connection they were made for. One announced while the next
 * connection looks for the master ends that search, and the connection is given up for good. Here they end first: whoever
 * is looking finds the new master by himself.
 */
export class SteadySentinelConnector extends SentinelConnector {
  /** @param options of the connection, as ioredis hands them over */
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override connect(emit: Parameters<SentinelConnector['connect']>[0]): ReturnType<SentinelConnector['connect']> {
    this.disconnect();
    return super.connect(emit);
  }
}
