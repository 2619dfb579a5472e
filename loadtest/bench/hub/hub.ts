/**
 * What the cluster costs a hub with stock strongSwan, in CPU: agent, its children, and what charon does for them, against the hub's own
 * DPD at the same interval. The node and the kernel's rules are not counted as the hub's cost. The baseline has no ha plugin, which
 * would cost it more.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { skipUnless } from '../../../test/requirements.ts';
import { SettingsError } from '../../../workers/base/errors.ts';
import { type Result, round } from '../measure.ts';
import { conclude, SETTLE_MS, say, startRekeying, untilWatched } from './attached.ts';
import { ownCpuSeconds, rssBytes } from './cpu.ts';
import { HubLab, type Running } from './lab.ts';
import type { HubOptions } from './options.ts';
import { Product, type ProductCpu } from './product.ts';
import { soak } from './soak.ts';

const MINUTE_MS = 60_000;
const DPD_S = 10;
const PLUGINS = '/usr/lib/ipsec/plugins/libstrongswan';
const NEEDS = {
  'strongswan-charon': ['/usr/lib/ipsec/charon'],
  'libcharon-extra-plugins': [`${PLUGINS}-ha.so`, `${PLUGINS}-counters.so`, `${PLUGINS}-kernel-libipsec.so`],
  'libstrongswan-standard-plugins': [`${PLUGINS}-openssl.so`],
  'libstrongswan-extra-plugins': [`${PLUGINS}-curve25519.so`],
  iproute2: ['/usr/sbin/ip'],
  nftables: ['/usr/sbin/nft'],
};

/** Throws SettingsError where it cannot run. */
export async function hub(options: HubOptions): Promise<Result> {
  const lacking = skipUnless(NEEDS, { root: true });
  if (lacking) throw new SettingsError(`hub: ${lacking}`);
  const { sas, kill: mortal } = options;
  const lab = new HubLab({ living: sas - mortal, mortal });
  const interrupted = () => {
    lab.down();
    process.exit(1);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    if (options.soak > 0) return await soak(lab, options);
    const own = await measureOwnDpd(lab);
    const { idleS, cluster } = await measureCluster(lab, options);
    const baseline = round(own.charonS - idleS);
    const spent = cluster.agent_s + cluster.agent_children_s + cluster.charon_s;
    return {
      sas,
      ...cluster,
      charon_idle_s: idleS,
      own_dpd_exchanges: own.exchanges,
      own_dpd_us: round((baseline * 1e6) / own.exchanges),
      hub_s: round(spent),
      baseline,
      ratio: Math.round((spent / baseline) * 1_000) / 1_000,
    };
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await lab.stop();
    lab.down();
  }
}

/** A minute of the hub's own DPD. */
async function measureOwnDpd(lab: HubLab): Promise<{ charonS: number; exchanges: number }> {
  say('bringing SAs up for the hub to ask');
  const { hub: charon } = await lab.run({ dpdS: DPD_S, ha: false });
  await sleep(SETTLE_MS);
  say('a minute of its own DPD');
  const exchanges = await charon.informationalsSent();
  const charonS = await minute(() => ownCpuSeconds(charon.pid));
  return { charonS, exchanges: (await charon.informationalsSent()) - exchanges };
}

async function measureCluster(lab: HubLab, options: HubOptions) {
  say('bringing SAs up for the cluster to ask');
  const running = await lab.run({ dpdS: 0, ha: true });
  const { hub: charon } = running;
  await sleep(SETTLE_MS);
  say('a minute of nothing');
  const idleS = await minute(() => ownCpuSeconds(charon.pid));
  const product = await Product.start(lab.ns('hub'), lab.directory);
  try {
    const charonBefore = ownCpuSeconds(charon.pid);
    product.startAgent(charon.viciSocket);
    const watchedS = await untilWatched(product, options.sas);
    const { agent, agentChildren } = product.cpu();
    const start = {
      start_agent_s: round(agent + agentChildren),
      start_charon_s: round(ownCpuSeconds(charon.pid) - charonBefore),
    };
    product.watchVerdicts();
    say(`all watched after ${watchedS} s; a minute of the cluster`);
    const rekeying = startRekeying(running, product, options.rekey);
    const cost = await measureMinute(running, product, idleS);
    const rekeyed = await rekeying.stop();
    const end = await conclude(running, product, options);
    return { idleS, cluster: { watched_s: watchedS, ...start, ...cost, ...rekeyed, ...end } };
  } finally {
    await product.stop();
  }
}

/** What all of them cost in a minute; charon without what it costs idle. */
async function measureMinute({ hub: charon }: Running, product: Product, idleS: number) {
  const before = await product.counters();
  const cpu = product.cpu();
  const charonS = await minute(() => ownCpuSeconds(charon.pid));
  const after = await product.counters();
  const spent = difference(cpu, product.cpu());
  const answered = after.probesAnswered - before.probesAnswered;
  return {
    probes: after.probesSent - before.probesSent,
    answered,
    agent_s: spent.agent,
    agent_children_s: spent.agentChildren,
    charon_s: round(charonS - idleS),
    agent_rss_mb: round(rssBytes(product.agentPid) / 1e6),
    node_s: spent.node,
    redis_s: spent.redis,
    node_us_per_probe: round((spent.node * 1e6) / answered),
  };
}

function difference(before: ProductCpu, after: ProductCpu): ProductCpu {
  return {
    agent: round(after.agent - before.agent),
    agentChildren: round(after.agentChildren - before.agentChildren),
    node: round(after.node - before.node),
    redis: round(after.redis - before.redis),
  };
}

/** How much a figure grows in a minute. */
async function minute(read: () => number): Promise<number> {
  const before = read();
  await sleep(MINUTE_MS);
  return round(read() - before);
}
