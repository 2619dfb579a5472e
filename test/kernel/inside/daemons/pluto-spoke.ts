/** A spoke with a stock Libreswan. */

import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { eventually } from '../../../eventually.ts';
import { ENVIRONMENT, PROGRAMS } from '../../libreswan.ts';
import type { Namespace } from '../netns.ts';
import { HUB, SPOKE } from '../network.ts';
import { CONNECTION, HUB_ID, type Place, SECRET, SPOKE_ID, type Tunnel } from '../tunnel.ts';
import type { SpokeDaemon } from './spoke.ts';

/** The processor is emulated. */
const START_MS = 60_000;
const COMMAND_MS = 60_000;
const LOOK_MS = 200;
const ENV = Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`);

export async function plutoSpoke(host: Namespace, directory: string): Promise<SpokeDaemon> {
  const file = (name: string) => join(directory, name);
  const [keys, socket] = [file('nss'), file('pluto.ctl')];
  mkdirSync(keys, { recursive: true });
  writeFileSync(file('secrets'), `: PSK "${SECRET}"\n`);
  writeFileSync(file('ipsec.conf'), 'config setup\n');
  const run = (...command: readonly string[]) => host.run('env', ...ENV, ...command);
  const whack = (...flags: readonly string[]) => run(PROGRAMS.whack, '--rundir', directory, ...flags);
  // It starts others of its programs from there. The machine's files are changed in memory only.
  await run('ln', '-sfn', dirname(PROGRAMS.pluto), '/usr/libexec/ipsec');
  await run(PROGRAMS.certutil, '-N', '-d', `sql:${keys}`, '--empty-password');
  const places = ['--rundir', directory, '--ipsecdir', directory, '--nssdir', keys, '--dumpdir', directory];
  const files = ['--config', file('ipsec.conf'), '--secretsfile', file('secrets'), '--logfile', file('pluto.log')];
  // An SA whose other half comes late, as from an emulated hub, must still be there.
  await host.run('sysctl', '-qw', 'net.core.xfrm_acq_expires=120');
  const pluto = host.spawn(['env', ...ENV, PROGRAMS.pluto, '--nofork', '--no-dnssec', ...files, ...places]);
  pluto.stderr!.resume();
  // Its socket is there a little before it takes commands.
  const listening = () =>
    whack('--listen').then(
      () => true,
      () => false,
    );
  await eventually(`pluto starts in ${host.name}`, START_MS, listening, LOOK_MS);
  await whack('--rereadsecrets');
  return {
    load: async (tunnel: Tunnel) => {
      writeFileSync(file('ipsec.conf'), configuration(tunnel));
      // As its updown script would.
      if (tunnel.between === 'sites') await host.ip('route', 'replace', HUB.inner[tunnel.version], 'dev', SPOKE.device);
      await run(PROGRAMS.addconn, '--config', file('ipsec.conf'), '--ctlsocket', socket, CONNECTION);
    },
    initiate: async () => void (await whack('--name', CONNECTION, '--initiate')),
    terminate: async () => void (await whack('--name', CONNECTION, '--terminate')),
    rekey: async () => void (await whack('--name', CONNECTION, '--rekey-ike')),
    kill: async () => {
      if (pluto.exitCode !== null || pluto.signalCode !== null) return;
      const exited = once(pluto, 'exit', { signal: AbortSignal.timeout(COMMAND_MS) });
      pluto.kill('SIGKILL');
      await exited;
    },
  };
}

/** ipsec.conf(5). It asks nothing itself, and renews nothing. */
function configuration({ version, between, encapsulated }: Tunnel): string {
  const bits = version === 4 ? 32 : 128;
  const all = version === 4 ? '0.0.0.0/0' : '::/0';
  const subnet = (place: Place) => {
    if (between === 'sites') return `${place.inner[version]}/${bits}`;
    return between === 'spoke and all' && place === HUB ? all : `${place.outer[version]}/${bits}`;
  };
  const end = (side: 'left' | 'right', place: Place, id: string) => ({
    [side]: place.outer[version],
    [`${side}id`]: `@${id}`,
    [`${side}subnet`]: subnet(place),
  });
  const settings = {
    ...end('left', SPOKE, SPOKE_ID),
    ...end('right', HUB, HUB_ID),
    leftupdown: '%disabled',
    authby: 'secret',
    ikev2: 'insist',
    ike: 'aes_gcm256-sha2_256;dh31',
    esp: 'aes_gcm256',
    pfs: 'no',
    rekey: 'no',
    encapsulation: encapsulated ? 'yes' : 'no',
  };
  const lines = Object.entries(settings).map(([name, value]) => `\t${name}=${value}\n`);
  return `config setup\n\nconn ${CONNECTION}\n${lines.join('')}`;
}
