/** A stock charon in a network namespace. It logs only errors, because logging would be counted as its work. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ViciClient } from '../../../services/agent/headend/strongswan/vici/client.ts';
import { eventually } from '../../../test/eventually.ts';

const START_MS = 10_000;
/** charon's HA segment becomes active after a heartbeat's timeout of 2.1 s: SAs made before are not in the feed. */
const HA_ACTIVE_MS = 3_000;
/** SAs that come, are rekeyed, and go because their successor is there. */
const USUAL =
  /\[IKE\] (\S+ is initiating an IKE_SA|IKE_SA \S+ (established|rekeyed) .*|deleting IKE_SA .*|IKE_SA deleted)$/;
const HA = 'ha { local = 127.0.0.3\n remote = 127.0.0.2\n fifo_interface = no }';

export class Daemon {
  readonly process: ChildProcess;
  readonly viciSocket: string;
  readonly vici: ViciClient;
  readonly #log: string;

  private constructor(process: ChildProcess, directory: string) {
    this.process = process;
    this.viciSocket = join(directory, 'charon.vici');
    this.vici = new ViciClient(this.viciSocket);
    this.#log = join(directory, 'charon.log');
  }

  /** @param directory its own, made anew @param ha with the plugin that tells of SAs and their keys */
  static async start(namespace: string, directory: string, { ha = false } = {}): Promise<Daemon> {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    const config = join(directory, 'strongswan.conf');
    writeFileSync(
      config,
      `charon {
  threads = 32
  ikesa_table_size = 16384
  ikesa_table_segments = 16
  dos_protection = no
  load = random nonce aes sha1 sha2 hmac kdf gcm curve25519 openssl pem pkcs1 kernel-libipsec kernel-netlink socket-default vici updown counters ${ha ? 'ha' : ''}
  plugins {
    ${ha ? HA : ''}
    vici { socket = unix://${join(directory, 'charon.vici')} }
  }
  filelog { log { path = ${join(directory, 'charon.log')}
    append = no
    default = 0
    flush_line = yes } }
}
`,
    );
    // A private /run: charon's pid file has a fixed place. execve all the way: a signal to this process is one to charon.
    const become = 'mount -t tmpfs lab /run && exec /usr/lib/ipsec/charon';
    const child = spawn('ip', ['netns', 'exec', namespace, 'unshare', '-m', 'sh', '-c', become], {
      env: { ...process.env, STRONGSWAN_CONF: config },
      stdio: 'ignore',
    });
    const daemon = new Daemon(child, directory);
    await eventually(`charon in ${namespace} has started`, START_MS, () => existsSync(daemon.viciSocket), 100);
    if (ha) await sleep(HA_ACTIVE_MS);
    return daemon;
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** IKE SAs that it has. */
  async ikeSas(): Promise<number> {
    const { ikesas } = (await this.vici.request('stats')) as { ikesas: { total: string } };
    return Number(ikesas.total);
  }

  /** INFORMATIONAL requests that it has sent. */
  async informationalsSent(): Promise<number> {
    const { counters } = (await this.vici.request('get-counters')) as { counters: { '': { 'info-out-req': string } } };
    return Number(counters['']['info-out-req']);
  }

  /** Stops it: all of its spokes are dead. */
  freeze(): void {
    this.process.kill('SIGSTOP');
  }

  /** Unusual lines of its log. */
  complaints(): string[] {
    return readFileSync(this.#log, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !USUAL.test(line));
  }

  /** Kills it at once, without any message to peers. */
  async stop(): Promise<void> {
    this.vici.close();
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exited;
  }
}
