/**
 * A hub and two spokes on stock strongSwan, each in a network namespace of its own, with ESP in user space
 * (kernel-libipsec over TUN) so that it runs on kernels without ESP. The hub exports its SAs by its ha plugin.
 *
 *   hub      192.0.2.1 (to spoke-a)  198.51.100.1 (to spoke-b)   inner 10.1.0.1
 *   spoke-a  192.0.2.10              spoke-b  198.51.100.10      inner 10.2.0.1 in both: two ways to one site
 *   node     10.9.0.2 beside the hub (10.9.0.1), when asked for; node-2 10.9.0.3
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ViciClient } from '../../services/agent/headend/strongswan/vici/client.ts';
import { type ListedSa, listSas } from '../../services/agent/headend/strongswan/vici/sas.ts';
import { skipUnless } from '../requirements.ts';

const run = promisify(execFile);
const COMMAND_MS = 20_000;
const HOSTS = ['hub', 'spoke-a', 'spoke-b'] as const;
export type Host = (typeof HOSTS)[number];

/** Why the lab cannot run here, as node:test's `skip`. */
export const LAB_SKIP = skipUnless(
  {
    'strongswan-charon': ['/usr/lib/ipsec/charon'],
    'strongswan-swanctl': ['/usr/sbin/swanctl'],
    'libcharon-extra-plugins': plugins('ha'),
    'libstrongswan-standard-plugins': plugins('openssl', 'gcm'),
    'libstrongswan-extra-plugins': plugins('curve25519'),
    iproute2: ['/usr/sbin/ip'],
    'iputils-ping': ['/usr/bin/ping'],
    nftables: ['/usr/sbin/nft'],
  },
  { root: true },
);

/** Root directories of other systems, whose releases of charon run on the hub and on the spokes instead of this one's. */
const HUB_ROOT = process.env['LAB_HUB_ROOT'];
const SPOKE_ROOT = process.env['LAB_SPOKE_ROOT'];

/** Files of charon's plugins. */
function plugins(...names: readonly string[]): string[] {
  return names.map((name) => `/usr/lib/ipsec/plugins/libstrongswan-${name}.so`);
}

export type LabOptions = {
  /** IKE proposal in strongSwan's notation. */
  readonly proposal: string;
  /** IKE SAs from spoke-a besides the main one. */
  readonly extras: number;
  /** IKEv1 in this mode, instead of IKEv2. */
  readonly ikev1?: 'main' | 'aggressive';
  /** Of the extras, those that do not come up by themselves: the last ones. */
  readonly late?: number;
  /** The spokes' own DPD, in strongSwan's notation; off by default. */
  readonly spokeDpd?: string;
  /** A connection of spoke-a's to the hub's second address there, 192.0.2.2, named `second`. */
  readonly second?: boolean;
  /** Identity of the first extra, instead of `extra1`. */
  readonly firstExtra?: string;
  /** How often the hub rekeys its IKE SAs and their children, in strongSwan's notation; never by default. */
  readonly hubRekey?: { readonly ike: string; readonly child: string };
};

/** Traffic that is recorded. */
export type Capture = {
  end(): Promise<void>;
  /** What matches a filter of tcpdump's, one line a packet. */
  read(filter: string): Promise<string>;
  /** Source and notification of what matches a filter of tshark's, one line a packet. @param keys a row of its table of keys */
  decrypt(keys: string, filter: string): Promise<string>;
};

/** Hosts for nodes beside the hub. */
const NODE_HOSTS = ['node', 'node-2'] as const;
export type NodeHost = (typeof NODE_HOSTS)[number];

export class Lab {
  readonly directory = mkdtempSync(join(tmpdir(), 'dpd-lab-'));
  readonly #tag = `dpd${process.pid % 10_000}`;
  readonly #options: LabOptions;
  readonly #daemons = new Map<Host, ChildProcess>();
  readonly #vici = new Map<Host, ViciClient>();

  private constructor(options: LabOptions) {
    this.#options = options;
  }

  /** Brings the lab up with all of spoke-a's SAs established. */
  static async up(options: LabOptions): Promise<Lab> {
    const lab = new Lab(options);
    try {
      await lab.#network();
      for (const host of HOSTS) lab.#startDaemon(host);
      for (const host of HOSTS) await lab.#load(host);
      // The hub's HA segment becomes active after its heartbeat timeout of 2.1 s.
      await sleep(3_000);
      await lab.initiate('spoke-a', 'net');
      for (let n = 1; n <= options.extras - (options.late ?? 0); n++) await lab.initiate('spoke-a', `x${n}`);
      if (options.second) await lab.initiate('spoke-a', 'second');
      return lab;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  /** Namespace of a host. */
  ns(host: Host | NodeHost): string {
    return `${this.#tag}-${host}`;
  }

  /** Where charon's vici socket of a host is. */
  viciSocket(host: Host): string {
    return join(this.directory, host, 'charon.vici');
  }

  /** Arguments that run a program in a host's namespace. */
  inside(host: Host | NodeHost, ...command: string[]): string[] {
    return ['ip', 'netns', 'exec', this.ns(host), ...command];
  }

  /** Runs a program in a host's namespace. Rejects if it fails. */
  async exec(host: Host | NodeHost, ...command: string[]): Promise<string> {
    const [program, ...args] = this.inside(host, ...command);
    return (await run(program!, args, { timeout: COMMAND_MS })).stdout;
  }

  async initiate(host: Host, child: string): Promise<void> {
    await this.#viciOf(host).request('initiate', { child, timeout: '10000' });
  }

  /** A spoke rekeys one of its IKE SAs, named by connection. */
  async rekeyIke(host: Host, connection: string): Promise<void> {
    await this.#viciOf(host).request('rekey', { ike: connection });
  }

  /** A host deletes its IKE SAs of a connection. */
  async terminate(host: Host, connection: string): Promise<void> {
    await this.#viciOf(host).request('terminate', { ike: connection, timeout: '-1' });
  }

  sas(host: Host): Promise<ListedSa[]> {
    return listSas(this.#viciOf(host));
  }

  /** Kills the daemon, as by a power failure, and starts it again without any memory of its SAs. */
  async restart(host: Host): Promise<void> {
    const daemon = this.#daemons.get(host)!;
    const ended = once(daemon, 'exit');
    daemon.kill('SIGKILL');
    await ended;
    this.#vici.get(host)?.close();
    this.#vici.delete(host);
    rmSync(this.viciSocket(host), { force: true });
    this.#startDaemon(host);
    await this.#load(host);
  }

  /** Stops the daemon: a dead peer. */
  freeze(host: Host): void {
    this.#daemons.get(host)!.kill('SIGSTOP');
  }

  thaw(host: Host): void {
    this.#daemons.get(host)!.kill('SIGCONT');
  }

  /** A ping through the tunnel to the hub's inner address: packets that came back. */
  async ping(from: Host, count: number): Promise<number> {
    const { stdout } = await run(
      'ip',
      [
        'netns',
        'exec',
        this.ns(from),
        'ping',
        '-q',
        '-c',
        String(count),
        '-i',
        '0.2',
        '-W',
        '2',
        '-I',
        '10.2.0.1',
        '10.1.0.1',
      ],
      { timeout: COMMAND_MS },
    ).catch((error: { stdout: string }) => error);
    return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
  }

  /** Records a host's UDP traffic on a device until its end. */
  capture(host: Host, device: string): Capture {
    const file = join(this.directory, `${host}.pcap`);
    const [program, ...args] = this.inside(host, 'tcpdump', '-U', '-w', file, '-i', device, 'udp');
    const sniffer = spawn(program!, args, { stdio: 'ignore' });
    return {
      end: async () => {
        sniffer.kill('SIGINT');
        await sleep(200);
      },
      read: (filter) => this.exec(host, 'tcpdump', '-nn', '-r', file, filter),
      decrypt: (keys, filter) => {
        const fields = ['ip.src', 'isakmp.notify.msgtype'].flatMap((field) => ['-e', field]);
        return this.exec(host, 'tshark', '-r', file, '-o', keys, '-Y', filter, '-T', 'fields', ...fields);
      },
    };
  }

  /** What a host's charon has logged. */
  log(host: Host): string {
    return readFileSync(join(this.directory, host, 'charon.log'), 'utf8');
  }

  /** Adds hosts for nodes beside the hub, 10.9.0.2 and the next, reached over its bridge dpd-hn, 10.9.0.1. */
  async addNodes(hosts: readonly NodeHost[]): Promise<void> {
    const hub = ['-n', this.ns('hub')];
    await this.#ip(...hub, 'link', 'add', 'dpd-hn', 'type', 'bridge');
    await this.#ip(...hub, 'addr', 'add', '10.9.0.1/24', 'dev', 'dpd-hn');
    await this.#ip(...hub, 'link', 'set', 'dpd-hn', 'up');
    // Where the kernel has br_netfilter, a bridge would take what the rules turn around for traffic between its own ports.
    await this.exec('hub', 'sysctl', '-qe', '-w', 'net.bridge.bridge-nf-call-iptables=0');
    for (const [n, host] of hosts.entries()) {
      const node = ['-n', this.ns(host)];
      const veth = ['link', 'add', `dpd-p${n}`, 'netns', this.ns('hub'), 'type', 'veth'];
      await this.#ip('netns', 'add', this.ns(host));
      await this.#ip(...veth, 'peer', 'dpd-n', 'netns', this.ns(host));
      await this.#ip(...hub, 'link', 'set', `dpd-p${n}`, 'master', 'dpd-hn', 'up');
      await this.#ip(...node, 'addr', 'add', `10.9.0.${n + 2}/24`, 'dev', 'dpd-n');
      await this.#ip(...node, 'link', 'set', 'dpd-n', 'up');
      await this.#ip(...node, 'link', 'set', 'lo', 'up');
      for (const net of ['192.0.2.0/24', '198.51.100.0/24'])
        await this.#ip(...node, 'route', 'add', net, 'via', '10.9.0.1');
    }
    await this.exec('hub', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  }

  /** Ends the daemons and removes the namespaces. */
  async down(): Promise<void> {
    for (const client of this.#vici.values()) client.close();
    for (const daemon of this.#daemons.values()) {
      daemon.kill('SIGCONT');
      daemon.kill('SIGKILL');
    }
    await sleep(100);
    for (const host of [...HOSTS, ...NODE_HOSTS]) await run('ip', ['netns', 'del', this.ns(host)]).catch(() => {});
    rmSync(this.directory, { recursive: true, force: true });
  }

  #viciOf(host: Host): ViciClient {
    let client = this.#vici.get(host);
    if (!client) {
      client = new ViciClient(this.viciSocket(host));
      this.#vici.set(host, client);
    }
    return client;
  }

  async #ip(...args: string[]): Promise<void> {
    await run('ip', args, { timeout: COMMAND_MS });
  }

  async #network(): Promise<void> {
    for (const host of HOSTS) {
      await this.#ip('netns', 'add', this.ns(host));
      await this.#ip('-n', this.ns(host), 'link', 'set', 'lo', 'up');
    }
    const links = [
      ['spoke-a', 'dpd-ha', 'dpd-a', '192.0.2.1', '192.0.2.10'],
      ['spoke-b', 'dpd-hb', 'dpd-b', '198.51.100.1', '198.51.100.10'],
    ] as const;
    for (const [spoke, hubSide, spokeSide, hubAddress, spokeAddress] of links) {
      await this.#ip(
        'link',
        'add',
        hubSide,
        'netns',
        this.ns('hub'),
        'type',
        'veth',
        'peer',
        spokeSide,
        'netns',
        this.ns(spoke),
      );
      for (const [host, device, address] of [
        ['hub', hubSide, hubAddress],
        [spoke, spokeSide, spokeAddress],
      ] as const) {
        await this.#ip('-n', this.ns(host), 'addr', 'add', `${address}/24`, 'dev', device);
        await this.#ip('-n', this.ns(host), 'link', 'set', device, 'up');
      }
      await this.#ip('-n', this.ns(spoke), 'addr', 'add', '10.2.0.1/32', 'dev', 'lo');
    }
    await this.#ip('-n', this.ns('hub'), 'addr', 'add', '10.1.0.1/32', 'dev', 'lo');
    if (this.#options.second) {
      await this.#ip('-n', this.ns('hub'), 'addr', 'add', '192.0.2.2/24', 'dev', 'dpd-ha');
      await this.#ip('-n', this.ns('spoke-a'), 'addr', 'add', '10.4.0.1/32', 'dev', 'lo');
    }
    for (let n = 1; n <= this.#options.extras; n++)
      await this.#ip('-n', this.ns('spoke-a'), 'addr', 'add', `10.3.${n}.1/32`, 'dev', 'lo');
  }

  #startDaemon(host: Host): void {
    const directory = join(this.directory, host);
    mkdirSync(directory, { recursive: true });
    const ha = host === 'hub' ? 'ha { local = 127.0.0.3\n remote = 127.0.0.2\n fifo_interface = no }' : '';
    // 32 threads: with kernel-libipsec a pool of 8 leaves none to answer vici.
    writeFileSync(
      join(directory, 'strongswan.conf'),
      `charon {
  threads = 32
  ${this.#options.ikev1 === 'aggressive' ? 'i_dont_care_about_security_and_use_aggressive_mode_psk = yes' : ''}
  load = random nonce aes sha1 sha2 hmac kdf gcm curve25519 openssl pem pkcs1 kernel-libipsec kernel-netlink socket-default vici updown counters ${host === 'hub' ? 'ha' : ''}
  plugins {
    ${ha}
    vici { socket = unix://${this.viciSocket(host)} }
  }
  filelog { log { path = ${join(directory, 'charon.log')}
    default = 1
    ike = 4
    flush_line = yes } }
}
`,
    );
    const [program, ...args] = this.inside(host, 'unshare', '-m', 'sh', '-c', this.#startScript(host));
    this.#daemons.set(
      host,
      spawn(program!, args, {
        env: { ...process.env, STRONGSWAN_CONF: join(directory, 'strongswan.conf') },
        stdio: 'ignore',
      }),
    );
  }

  #startScript(host: Host): string {
    const root = (host === 'hub' ? HUB_ROOT : SPOKE_ROOT) ?? '';
    const charon = '/usr/lib/ipsec/charon';
    return [
      // A private /run: charon's pid file has a fixed place.
      `mount -t tmpfs lab ${root}/run`,
      ...(root
        ? [
            `mount -t tmpfs lab ${root}/tmp`,
            `mkdir -p ${root}${this.directory}`,
            `mount --bind ${this.directory} ${root}${this.directory}`,
            `mount --rbind /dev ${root}/dev`,
            `mount -t proc proc ${root}/proc`,
            `exec chroot ${root} ${charon}`,
          ]
        : [`exec ${charon}`]),
    ].join(' && ');
  }

  async #load(host: Host): Promise<void> {
    const vici = this.#viciOf(host);
    // The socket's file exists a moment before charon listens.
    const answers = () =>
      vici.request('version').then(
        () => true,
        () => false,
      );
    for (let n = 0; !existsSync(this.viciSocket(host)) || !(await answers()); n++) {
      if (n > 100) throw new Error(`charon on ${host} did not start`);
      await sleep(100);
    }
    await vici.request('load-shared', { id: 'lab', type: 'IKE', data: 'labsecret', owners: [] });
    for (const connection of this.#connections(host)) await vici.request('load-conn', connection);
  }

  #connections(host: Host): Parameters<ViciClient['request']>[1][] {
    const make = (
      name: string,
      addresses: [string, string],
      ids: [string, string],
      selectors: [string, string],
      child: string,
    ) => ({
      [name]: {
        version: this.#options.ikev1 ? '1' : '2',
        ...(this.#options.ikev1 && {
          aggressive: this.#options.ikev1 === 'aggressive' ? 'yes' : 'no',
          dpd_timeout: '6s',
        }),
        local_addrs: [addresses[0]],
        remote_addrs: [addresses[1]],
        mobike: 'no',
        dpd_delay: host === 'hub' ? '0' : (this.#options.spokeDpd ?? '0'),
        rekey_time: (host === 'hub' && this.#options.hubRekey?.ike) || '0',
        rand_time: '0',
        // A rekeying may take as long as a takeover.
        over_time: '100s',
        unique: 'never',
        proposals: [this.#options.proposal],
        local: { auth: 'psk', id: ids[0] },
        remote: { auth: 'psk', id: ids[1] },
        children: {
          [child]: {
            local_ts: [selectors[0]],
            remote_ts: [selectors[1]],
            esp_proposals: ['aes256-sha256'],
            rekey_time: (host === 'hub' && this.#options.hubRekey?.child) || '0',
            rand_time: '0',
            ...(this.#options.hubRekey && { life_time: '100s' }),
          },
        },
      },
    });
    const extras = Array.from({ length: this.#options.extras }, (_, n) => n + 1);
    const idOf = (n: number) => (n === 1 && this.#options.firstExtra) || `extra${n}`;
    const second = (hub: boolean) =>
      this.#options.second
        ? [
            hub
              ? make(
                  'site1-2',
                  ['192.0.2.2', '192.0.2.10'],
                  ['hub', 'second'],
                  ['10.1.0.0/24', '10.4.0.0/24'],
                  'second',
                )
              : make('hub-2', ['192.0.2.10', '192.0.2.2'], ['second', 'hub'], ['10.4.0.0/24', '10.1.0.0/24'], 'second'),
          ]
        : [];
    if (host === 'hub')
      return [
        ...second(true),
        make('site1', ['192.0.2.1', '192.0.2.10'], ['hub', 'spoke1'], ['10.1.0.0/24', '10.2.0.0/24'], 'net'),
        make('site1-b', ['198.51.100.1', '198.51.100.10'], ['hub', 'spoke1'], ['10.1.0.0/24', '10.2.0.0/24'], 'net'),
        ...extras.map((n) =>
          make(`extra${n}`, ['192.0.2.1', '192.0.2.10'], ['hub', idOf(n)], ['10.1.0.0/24', `10.3.${n}.0/24`], `x${n}`),
        ),
      ];
    if (host === 'spoke-b')
      return [make('hub', ['198.51.100.10', '198.51.100.1'], ['spoke1', 'hub'], ['10.2.0.0/24', '10.1.0.0/24'], 'net')];
    return [
      ...second(false),
      make('hub', ['192.0.2.10', '192.0.2.1'], ['spoke1', 'hub'], ['10.2.0.0/24', '10.1.0.0/24'], 'net'),
      ...extras.map((n) =>
        make(`hub-x${n}`, ['192.0.2.10', '192.0.2.1'], [idOf(n), 'hub'], [`10.3.${n}.0/24`, '10.1.0.0/24'], `x${n}`),
      ),
    ];
  }
}
