/** How ioredis finds the master through Sentinels, with a fix for one of its faults. */

import { type SentinelConnectionOptions, SentinelConnector } from 'ioredis';

/**
 * ioredis has listeners for failovers that outlive their connection. If a failover is announced while the next connection
 * looks for the master, they end that search, and the connection is given up for good. Here the listeners end first, and
 * the search finds the new master by itself.
 */
export class SteadySentinelConnector extends SentinelConnector {
  /** @param options of the connection, as ioredis passes them */
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override connect(emit: Parameters<SentinelConnector['connect']>[0]): ReturnType<SentinelConnector['connect']> {
    this.disconnect();
    return super.connect(emit);
  }
}
