/**
 * `npm run k6 -- api|streams|soak|spike [k6's own options]`: k6 against a node started for it, or the one at DPD_ADDRESS.
 * Results: k6's summary, and over OTLP if OTEL_EXPORTER_OTLP_ENDPOINT is set.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runMain } from '../../services/base/settings.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import { freePort } from '../free-port.ts';
import { NodeProcess } from '../node-process.ts';

const SCRIPTS: Readonly<Record<string, string>> = {
  api: 'api.js',
  streams: 'streams.js',
  soak: 'streams.js',
  spike: 'streams.js',
};

await runMain(async () => {
  const [profile = '', ...options] = process.argv.slice(2);
  const script = SCRIPTS[profile];
  if (!script) throw new SettingsError(`npm run k6 -- ${Object.keys(SCRIPTS).join('|')} [k6's own options]`);
  const version = spawnSync('k6', ['version'], { encoding: 'utf8' });
  if (version.error)
    throw new SettingsError('k6 is not in PATH: see https://grafana.com/docs/k6 for how to install it');
  process.stdout.write(version.stdout);
  const given = process.env['DPD_ADDRESS'];
  const directory = mkdtempSync(join(tmpdir(), 'dpd-k6-'));
  let node: NodeProcess | undefined;
  try {
    const address = given ?? `127.0.0.1:${await freePort()}`;
    if (!given)
      node = await NodeProcess.start(address, {
        DPD_DATA_DIR: join(directory, 'data'),
        DPD_NODE_ID: 'k6',
      });
    const otlp = process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ? ['--out', 'experimental-opentelemetry'] : [];
    const path = new URL(script, import.meta.url).pathname;
    const k6 = spawn('k6', ['run', ...otlp, ...options, path], {
      stdio: 'inherit',
      env: { ...process.env, DPD_ADDRESS: address, PROFILE: profile },
    });
    const [code] = (await once(k6, 'exit')) as [number | null];
    process.exitCode = code ?? 1;
    if (code !== 0 && node && node.log !== '') process.stderr.write(`The node's log:\n${node.log}`);
  } finally {
    await node?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});
