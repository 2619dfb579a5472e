/** A node and an agent with a few deaths behind them, and what Prometheus gets of both. */

import { freePort } from '../../loadtest/free-port.ts';
import { AGENT_METRICS, observe } from '../../services/telemetry/metrics.ts';
import { startTelemetry } from '../../services/telemetry/telemetry.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, Rig } from '../integration/rig.ts';

export const SPOKES = 30;
export const DEAD = 3;

export type Live = {
  readonly rig: Rig;
  /** URL of the node's port, without a path. */
  readonly node: string;
  readonly agent: string;
  stop(): Promise<void>;
};

/** Starts them, and waits until the verdicts on some dead spokes are acknowledged. */
export async function startLive(nodeEnv: Record<string, string> = {}): Promise<Live> {
  const port = await freePort();
  const metricsAddress = { host: '127.0.0.1', port: 0 };
  const telemetry = await startTelemetry({ service: 'dpd-agent', instance: 'rig-hub', metricsAddress }, {});
  const rig = await Rig.start({
    spokes: SPOKES,
    nodeEnv: { DPD_METRICS_ADDRESS: `127.0.0.1:${port}`, ...nodeEnv },
  });
  const stop = async () => {
    await rig.stop();
    await telemetry.stop();
  };
  try {
    await rig.startAgent();
    observe(AGENT_METRICS, () => rig.agent.metrics());
    for (let spoke = 0; spoke < DEAD; spoke++) rig.responder.kill(spoke, 0);
    const node = `http://127.0.0.1:${port}`;
    await eventually('their verdicts are acknowledged', DETECTION_MS + 20_000, async () =>
      (await scrape(node)).includes(
        `dpd_failover_duration_seconds_count{dpd_headend="rig-hub",dpd_outcome="CLEARED"} ${DEAD}`,
      ),
    );
    return { rig, node, agent: `http://127.0.0.1:${telemetry.port}`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What Prometheus gets at a URL without its path. */
export async function scrape(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`);
  if (!response.ok) throw new Error(`${url}/metrics: ${response.status}`);
  return await response.text();
}

/** One series. */
export type Sample = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
};

/** Every series in Prometheus' text. Throws on a line that is none. */
export function samplesOf(text: string): Sample[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [, name, labels = '', value] = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? [];
    if (name === undefined) throw new Error(`not a sample: ${line}`);
    const pairs = [...labels.matchAll(/([a-z_][a-z0-9_]*)="((?:[^"\\]|\\.)*)"/gi)];
    return { name, labels: Object.fromEntries(pairs.map(([, key, text]) => [key!, text!])), value: Number(value) };
  });
}
