/** Where the cluster's keys come from: a file, or the environment. They are read again when the file changes. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SettingsError } from '../../workers/base/errors.ts';
import { VAULT_KEY_LENGTH } from '../../workers/keys/vault.ts';
import { watchFiles } from '../base/watch-files.ts';

/** Permissions of anybody but a file's owner. */
const OTHERS = 0o037;

/** Where keys are: in base64, one a line; the first one is used for all that is new. */
export type KeySource =
  /** In the environment. */
  | { readonly keys: string }
  /** In a file that a setting names. If it may be made, it is made with mode 0600. */
  | { readonly file: string; readonly setting: string; readonly make?: boolean };

/** The keys of a program that only proves what it writes: it need not have the vault's. Throws SettingsError if there are none. */
export function workerKeys({
  clusterKeyFile,
  vaultKeyFile,
  vaultKey,
}: {
  readonly clusterKeyFile: string | undefined;
  readonly vaultKeyFile: string | undefined;
  readonly vaultKey: string | undefined;
}): KeySource {
  if (clusterKeyFile !== undefined) return { file: clusterKeyFile, setting: 'cluster-key-file' };
  if (vaultKeyFile !== undefined) return { file: vaultKeyFile, setting: 'vault-key-file' };
  if (vaultKey !== undefined) return { keys: vaultKey };
  throw new SettingsError("cluster-key-file is needed, or the vault's keys if the nodes have no such file");
}

/** Reads them. Throws SettingsError. */
export function loadKeys(source: KeySource): Buffer[] {
  if ('keys' in source) return decode(source.keys, 'DPD_VAULT_KEY');
  const { file, setting, make = false } = source;
  if (!existsSync(file)) {
    if (!make) throw new SettingsError(`${setting} ${file}: ENOENT`);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, `${randomBytes(VAULT_KEY_LENGTH).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(file, 0o600);
  }
  return readKeys(file, setting);
}

/** Calls back with the keys of a file whenever it changes, or with why they cannot be used. Returns what ends that. Does not keep the process. */
export function watchKeys(source: KeySource, changed: (keys: Buffer[] | Error) => void): () => void {
  if ('keys' in source) return () => {};
  return watchFiles([source.file], () => {
    let keys: Buffer[] | Error;
    try {
      keys = readKeys(source.file, source.setting);
    } catch (error) {
      keys = error as Error;
    }
    changed(keys);
  });
}

function readKeys(file: string, setting: string): Buffer[] {
  const { mode } = statSync(file);
  if ((mode & OTHERS) !== 0)
    throw new SettingsError(
      `${setting} ${file}: its mode is ${(mode & 0o777).toString(8)}, and others can read it; chmod 600`,
    );
  return decode(readFileSync(file, 'utf8'), `${setting} ${file}`);
}

/** The keys in a text, one a line. */
function decode(text: string, source: string): Buffer[] {
  const keys = text
    .trim()
    .split(/\s+/)
    .map((line) => Buffer.from(line, 'base64'));
  if (keys.some(({ length }) => length !== VAULT_KEY_LENGTH))
    throw new SettingsError(
      `${source}: must be ${VAULT_KEY_LENGTH} bytes in base64 (openssl rand -base64 ${VAULT_KEY_LENGTH}), one such key a line`,
    );
  return keys;
}
