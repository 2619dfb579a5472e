/** A stock charon in a namespace, with the kernel's own ESP. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ViciClient } from '../../../../services/agent/headend/strongswan/vici/client.ts';
import type { ViciSection } from '../../../../services/agent/headend/strongswan/vici/codec.ts';
import { type ListedSa, listSas } from '../../../../services/agent/headend/strongswan/vici/sas.ts';
import { eventually } from '../../../eventually.ts';
import type { Namespace } from '../netns.ts';
import { SECRET } from '../tunnel.ts';

/** The processor is emulated. */
const START_MS = 60_000;
const COMMAND_MS = 60_000;
const LOOK_MS = 200;
const PLUGINS =
  'random nonce aes sha1 sha2 hmac kdf gcm curve25519 openssl pem pkcs1 kernel-netlink socket-default vici updown';

export class Charon {
  readonly viciSocket: string;
  readonly #log: string;
  readonly #process: ChildProcess;
  readonly #vici: ViciClient;

  private constructor(directory: string, process: ChildProcess) {
    this.viciSocket = join(directory, 'charon.vici');
    this.#log = join(directory, 'charon.log');
    this.#process = process;
    this.#vici = new ViciClient(this.viciSocket);
  }

  /**
   * Starts it, and waits until it takes commands.
   * @param directory for its files, its own
   * @param exports whether it exports its SAs by its ha plugin; then also waits until the plugin is active
   */
  static async start(host: Namespace, directory: string, exports: boolean): Promise<Charon> {
    mkdirSync(directory, { recursive: true });
    const configuration = join(directory, 'strongswan.conf');
    writeFileSync(configuration, settings(directory, exports));
    // A private /run: charon's pid file has a fixed place.
    const command = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs lab /run && exec /usr/lib/ipsec/charon'];
    const charon = new Charon(directory, host.spawn(command, { STRONGSWAN_CONF: configuration }));
    await eventually(`charon starts in ${host.name}`, START_MS, () => existsSync(charon.viciSocket), LOOK_MS);
    await charon.#vici.request('load-shared', { id: 'lab', type: 'IKE', data: SECRET, owners: [] }, COMMAND_MS);
    // The plugin does not announce an SA that is made earlier.
    if (exports)
      await eventually(
        'the HA segment is active',
        START_MS,
        () => /HA segment 1 activated/.test(charon.log()),
        LOOK_MS,
      );
    return charon;
  }

  /** What it has logged. */
  log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  async load(connection: ViciSection): Promise<void> {
    await this.#vici.request('load-conn', connection, COMMAND_MS);
  }

  /** Brings a child SA up. Rejects if it does not come up. */
  async initiate(child: string): Promise<void> {
    await this.#vici.request('initiate', { child, timeout: String(COMMAND_MS) }, COMMAND_MS);
  }

  /** Ends a connection's IKE SA. */
  async terminate(ike: string): Promise<void> {
    await this.#vici.request('terminate', { ike, timeout: String(COMMAND_MS) }, COMMAND_MS);
  }

  /** Makes a new IKE SA in the place of a connection's. */
  async rekey(ike: string): Promise<void> {
    await this.#vici.request('rekey', { ike }, COMMAND_MS);
  }

  sas(): Promise<ListedSa[]> {
    return listSas(this.#vici);
  }

  /** Kills it at once, without any message to peers; the kernel's SAs stay. */
  async kill(): Promise<void> {
    this.#vici.close();
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, 'exit', { signal: AbortSignal.timeout(COMMAND_MS) });
    this.#process.kill('SIGKILL');
    await exited;
  }
}

function settings(directory: string, exports: boolean): string {
  const ha = 'ha { local = 127.0.0.3\n remote = 127.0.0.2\n fifo_interface = no }';
  return `charon {
  load = ${PLUGINS} ${exports ? 'ha' : ''}
  plugins {
    ${exports ? ha : ''}
    vici { socket = unix://${join(directory, 'charon.vici')} }
  }
  filelog { log { path = ${join(directory, 'charon.log')}
    default = 1
    flush_line = yes } }
}
`;
}
