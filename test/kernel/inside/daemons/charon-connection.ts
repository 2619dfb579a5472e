/** The lab's tunnel as charon's configuration. */

import type { ViciSection } from '../../../../services/agent/headend/strongswan/vici/codec.ts';
import { HUB } from '../network.ts';
import { CONNECTION, type Place, type Tunnel } from '../tunnel.ts';

/** One end of a tunnel, as vici wants it. The hub asks nothing itself. */
export function charonConnection(
  tunnel: Tunnel,
  here: Place,
  there: Place,
  ids: readonly [string, string],
): ViciSection {
  const { version, between, encapsulated } = tunnel;
  const bits = version === 4 ? 32 : 128;
  const end = (place: Place) => {
    if (between === 'sites') return [`${place.inner[version]}/${bits}`];
    return between === 'spoke and all' && place === HUB ? [version === 4 ? '0.0.0.0/0' : '::/0'] : ['dynamic'];
  };
  return {
    [CONNECTION]: {
      version: '2',
      local_addrs: [here.outer[version]],
      remote_addrs: [there.outer[version]],
      encap: encapsulated ? 'yes' : 'no',
      mobike: 'no',
      dpd_delay: '0',
      rekey_time: '0',
      proposals: ['aes256gcm16-prfsha256-x25519'],
      local: { auth: 'psk', id: ids[0] },
      remote: { auth: 'psk', id: ids[1] },
      children: {
        [CONNECTION]: { local_ts: end(here), remote_ts: end(there), esp_proposals: ['aes256gcm16'], rekey_time: '0' },
      },
    },
  };
}
