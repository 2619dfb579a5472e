/** A node's keys: those of the vault, which seal IKE keys, and those that records in Redis are made with. */

import { SettingsError } from '../../workers/base/errors.ts';
import { Vault } from '../../workers/keys/vault.ts';
import type { Logger } from '../base/log.ts';
import { type KeySource, loadKeys, watchKeys } from '../store/key-source.ts';
import { checkMac, RecordMac } from '../store/record-mac.ts';
import type { RedisClient } from '../store/redis/redis.ts';
import { checkVault } from '../store/vault-check.ts';
import type { Shards } from './cluster/shards.ts';
import type { NodeSettings } from './settings.ts';

export class NodeKeys {
  readonly vault: Vault;
  readonly mac: RecordMac;
  readonly #vaultSource: KeySource;
  readonly #macSource: KeySource;
  readonly #redis: RedisClient;
  readonly #log: Logger;

  private constructor(vaultSource: KeySource, macSource: KeySource, redis: RedisClient, log: Logger) {
    this.vault = new Vault(loadKeys(vaultSource));
    this.mac = new RecordMac(loadKeys(macSource));
    this.#vaultSource = vaultSource;
    this.#macSource = macSource;
    this.#redis = redis;
    this.#log = log;
  }

  /**
   * Reads them.
   * @param privateRedis a key file is made beside a Redis of the node's own
   * @throws SettingsError if there are none, or they are not those of what is in Redis
   */
  static async open(settings: NodeSettings, privateRedis: boolean, redis: RedisClient, log: Logger): Promise<NodeKeys> {
    const source = vaultSourceOf(settings, privateRedis);
    const { clusterKeyFile: file, vaultKey } = settings;
    const keys = new NodeKeys(source, file === undefined ? source : { file, setting: 'cluster-key-file' }, redis, log);
    await checkVault(keys.vault, redis);
    await checkMac(keys.mac, redis);
    if (vaultKey !== undefined)
      log.warn('DPD_VAULT_KEY: the environment of a process can be read; vault-key-file is safer');
    return keys;
  }

  /** Takes up other keys when the files change: what is in Redis of these shards is sealed, and made, anew. Returns what ends that. */
  follow(shards: Shards): () => void {
    const { vault, mac } = this;
    const ends = [
      this.#watch(this.#vaultSource, 'vault', async (keys) => {
        vault.use(keys);
        for (const host of shards.hosted()) host.vaultChanged();
        await checkVault(vault, this.#redis);
      }),
      this.#watch(this.#macSource, 'cluster', async (keys) => {
        mac.use(keys);
        for (const host of shards.hosted()) host.clusterKeysChanged();
        await checkMac(mac, this.#redis);
      }),
    ];
    return () => {
      for (const end of ends) end();
    };
  }

  #watch(source: KeySource, of: 'vault' | 'cluster', use: (keys: Buffer[]) => Promise<void>): () => void {
    return watchKeys(source, (keys) => {
      if (keys instanceof Error) {
        this.#log.error({ reason: keys.message }, `${of} keys not read: those read before hold`);
        return;
      }
      this.#log.info({ keys: keys.length }, `${of} keys read again`);
      use(keys).catch((error: Error) => this.#log.error({ reason: error.message }, `${of} keys not checked`));
    });
  }
}

/** Throws SettingsError if there is none. */
function vaultSourceOf({ vaultKey, vaultKeyFile, dataDir }: NodeSettings, privateRedis: boolean): KeySource {
  if (vaultKey !== undefined) return { keys: vaultKey };
  if (vaultKeyFile !== undefined) return { file: vaultKeyFile, setting: 'vault-key-file' };
  if (privateRedis) return { file: `${dataDir}/vault.key`, setting: 'vault-key-file', make: true };
  throw new SettingsError('vault-key-file or DPD_VAULT_KEY is needed: IKE keys rest sealed in a Redis of yours');
}
