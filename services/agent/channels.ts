/** gRPC channels to the nodes, one an address, made when first needed. */

import { HeadendService } from '../../proto/gen/dpd/v1/headend_pb.js';
import { ApiClient } from '../api/grpc/client.ts';
import type { TransportSettings } from '../api/grpc/credentials.ts';
import type { StreamOpener } from './uplink.ts';

export class NodeChannels {
  readonly #transport: Omit<TransportSettings, 'address'>;
  readonly #clients = new Map<string, ApiClient>();

  constructor(transport: Omit<TransportSettings, 'address'>) {
    this.#transport = transport;
  }

  /** Opens a shard's stream to a node. Throws SettingsError on credentials. */
  readonly open: StreamOpener = (address) => {
    let client = this.#clients.get(address);
    if (!client) {
      client = new ApiClient({ ...this.#transport, address });
      this.#clients.set(address, client);
    }
    return client.duplex(HeadendService.method.connectShard);
  };

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }
}
