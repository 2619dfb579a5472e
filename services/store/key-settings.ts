/** Settings for the keys of the cluster, which nodes and failover workers share. */

import { optional } from '../base/settings.ts';

export const KEY_SETTINGS = {
  vaultKeyFile: {
    env: 'DPD_VAULT_KEY_FILE',
    help: 'file with keys that seal IKE keys in Redis: 32 bytes in base64, one a line; the first seals, all open',
    fallback: '',
    parse: optional,
  },
  vaultKey: {
    env: 'DPD_VAULT_KEY',
    help: 'the same keys themselves; a file is safer, as the environment of a process can be read',
    fallback: '',
    secret: true,
    parse: optional,
  },
  clusterKeyFile: {
    env: 'DPD_CLUSTER_KEY_FILE',
    help: "file with keys that prove who wrote what is in Redis, in the same form; none: they are derived from the vault's",
    fallback: '',
    parse: optional,
  },
} as const;
