/**
 * Writes what the product is delivered with into docs/dependencies.md, from the lock file: packages, licences, install scripts. On exit
 * code 1 it names a licence that is not allowed, a package without integrity, or an install script that nobody has looked at.
 */

import { readFileSync, writeFileSync } from 'node:fs';

const DOC = new URL('../docs/dependencies.md', import.meta.url);
const ALLOWED = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'];

/** Packages with install scripts, and what becomes of these. `allowScripts` of package.json says which may run. */
const INSTALL_SCRIPTS: Readonly<Record<string, string>> = {
  'dpd-offload':
    'the project itself: looks for `redis-server`, and fetches it with apt if it is missing and the user is root',
  '@bufbuild/buf': 'for development only: puts the program for this system in place; may run',
  'msgpackr-extract':
    'would compile a faster decoder for BullMQ where none is delivered; does not run, and is not needed',
  protobufjs: 'compares version numbers and warns; may run',
};

type Package = {
  readonly name?: string;
  readonly version?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
};

const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8')) as {
  readonly packages: Readonly<Record<string, Package>>;
};
const packages = Object.entries(lock.packages).map(([path, one]) => ({
  ...one,
  name: path === '' ? one.name! : path.replace(/^.*node_modules\//, ''),
  own: path === '',
}));
const faults = packages.flatMap(({ name, own, dev, license, integrity, hasInstallScript }) => [
  ...(!own && !integrity ? [`${name}: no integrity in the lock file`] : []),
  ...(!dev && !isAllowed(license) ? [`${name}: licence ${license ?? 'none'} is not among ${ALLOWED.join(', ')}`] : []),
  ...(hasInstallScript && !(name in INSTALL_SCRIPTS)
    ? [`${name}: has an install script that is not explained here`]
    : []),
]);
for (const fault of faults) process.stderr.write(`${fault}\n`);
if (faults.length > 0) process.exit(1);

const delivered = packages.filter(({ own, dev }) => !own && !dev);
const rows = [...new Set(delivered.map(({ name, version, license }) => `| ${name} | ${version} | ${license} |`))];
const scripts = Object.entries(INSTALL_SCRIPTS)
  .filter(([name]) => packages.some((one) => one.name === name && one.hasInstallScript))
  .map(([name, what]) => `| ${name} | ${what} |`);
writeFileSync(
  DOC,
  [
    '# Dependencies',
    '',
    '<!-- Written by `npm run generate` from package-lock.json. -->',
    '',
    'Every package, the Node binary among them, is locked by its SHA-512. `npm run sbom` prints a CycloneDX bill of materials of what is',
    'delivered; `npm audit` asks for known weaknesses. Only packages that `allowScripts` in package.json names may run install scripts.',
    '',
    '## Install scripts',
    '',
    '| package | what it does |',
    '| --- | --- |',
    ...scripts,
    '',
    '## Delivered packages',
    '',
    '| package | version | licence |',
    '| --- | --- | --- |',
    ...rows.sort(),
    '',
  ].join('\n'),
);

/** Whether an SPDX expression of licences names only allowed ones, or an allowed one to choose. */
function isAllowed(license = ''): boolean {
  const words = license.replace(/[()]/g, '').split(' ');
  const names = words.filter((word) => word !== 'AND' && word !== 'OR');
  if (names.length === 0) return false;
  const allowed = names.map((name) => ALLOWED.includes(name));
  return words.includes('OR') && !words.includes('AND') ? allowed.some(Boolean) : allowed.every(Boolean);
}
