/** A spoke with a stock strongSwan. */

import type { Namespace } from '../netns.ts';
import { HUB, SPOKE } from '../network.ts';
import { CONNECTION, HUB_ID, SPOKE_ID, type Tunnel } from '../tunnel.ts';
import { Charon } from './charon.ts';
import { charonConnection } from './charon-connection.ts';
import type { SpokeDaemon } from './spoke.ts';

export async function charonSpoke(host: Namespace, directory: string): Promise<SpokeDaemon> {
  const charon = await Charon.start(host, directory, false);
  return {
    load: (tunnel: Tunnel) => charon.load(charonConnection(tunnel, SPOKE, HUB, [SPOKE_ID, HUB_ID])),
    initiate: () => charon.initiate(CONNECTION),
    terminate: () => charon.terminate(CONNECTION),
    rekey: () => charon.rekey(CONNECTION),
    kill: () => charon.kill(),
  };
}
