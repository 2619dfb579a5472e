/** Writes every program's settings into docs/settings.md, from their own definitions. */

import { writeFileSync } from 'node:fs';
import { HEADENDS } from '../services/agent/headend/kinds.ts';
import { AGENT_SETTINGS } from '../services/agent/settings.ts';
import { flagOf, type SettingsTable } from '../services/base/settings.ts';
import { FAILOVER_WORKER_SETTINGS } from '../services/failover/settings.ts';
import { NODE_SETTINGS } from '../services/node/settings.ts';

const DOC = new URL('../docs/settings.md', import.meta.url);

writeFileSync(
  DOC,
  [
    '# Settings\n\n',
    '<!-- Written by `npm run generate` from the definitions of the settings. -->\n\n',
    'Flags win over the environment. Every program prints its settings with `--help`. `LOG_LEVEL` (the levels of pino) and the\n',
    'standard `OTEL_*` variables hold for all of them.\n',
    section('A node: `npm start`', NODE_SETTINGS),
    section('An agent: `npm run agent`', AGENT_SETTINGS),
    ...Object.entries(HEADENDS).map(([kind, { settings }]) => section(`An agent with \`--kind ${kind}\``, settings)),
    section('A failover worker of its own: `npm run failover`', FAILOVER_WORKER_SETTINGS),
  ].join(''),
);

function section(title: string, table: SettingsTable): string {
  const rows = Object.entries(table).map(
    ([name, { env, help, fallback, varies, secret }]) =>
      `| ${secret ? 'none' : `\`--${flagOf(name)}\``} | \`${env}\` | ${help} | ${varies ?? fallback} |\n`,
  );
  return `\n## ${title}\n\n| flag | environment | meaning | default |\n| --- | --- | --- | --- |\n${rows.join('')}`;
}
