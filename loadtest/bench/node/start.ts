/**
 * Starting up: from nothing to a node that serves, its private Redis included, and again with 100,000 SAs in that Redis. Beside
 * it a bare Node process that ends at once.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeProcess } from '../../node-process.ts';
import { median, type Result, round } from '../measure.ts';
import { encodeFleet, registerAll } from './register.ts';

const SAS = 100_000;
const SHARDS = 4;
const ROUNDS = 5;

export async function start(): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-bench-'));
  const env = {
    DPD_DATA_DIR: join(directory, 'data'),
    DPD_NODE_ID: 'bench',
  };
  const boot = async () => {
    const begun = performance.now();
    const node = await NodeProcess.start(`unix:${join(directory, 'node.sock')}`, env);
    return { node, ms: performance.now() - begun };
  };
  try {
    const empty: number[] = [];
    for (let n = 0; n < ROUNDS; n++) {
      const { node, ms } = await boot();
      empty.push(ms);
      await node.stop();
    }
    const first = await boot();
    const { streams } = await registerAll(first.node, encodeFleet(SAS, SHARDS));
    for (const stream of streams) stream.close();
    await first.node.stop();
    const full = await boot();
    const [cpuS, rss] = [full.node.cpuSeconds(), full.node.rssBytes()];
    await full.node.stop();
    const bare = Array.from({ length: ROUNDS }, () => {
      const begun = performance.now();
      execFileSync(process.execPath, ['-e', '0']);
      return performance.now() - begun;
    });
    const baseline = round(median(bare));
    return {
      serving_ms: round(median(empty)),
      sas: SAS,
      serving_with_sas_ms: round(full.ms),
      cpu_s_with_sas: round(cpuS),
      rss_bytes_with_sas: rss,
      baseline,
      ratio: round(median(empty) / baseline),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
