import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccessFile } from '../../../../services/node/access/access-file.ts';
import { SettingsError } from '../../../../workers/base/errors.ts';

const parse = (raw: unknown) =>
  AccessFile.parse(raw, (what) => {
    throw new SettingsError(`access file: ${what}`);
  });
const nobody = { spiffe: undefined, dns: [], subject: '' };

test('the first of a certificate’s names that is listed counts: SPIFFE ID, DNS names, subject', () => {
  const file = parse({
    identities: {
      'spiffe://a.example/x/y': { operator: 'read' },
      'DNS:b.example': { headend: ['hub-b'] },
      'O=NOC,CN=carol': { watch: ['hub-*'] },
    },
  });
  const names = {
    spiffe: { domain: 'a.example', path: ['x', 'y'] },
    dns: ['z.example', 'b.example'],
    subject: 'O=NOC,CN=carol',
  };
  assert.equal(file.of(names)?.operator, 'read');
  assert.equal(file.of({ ...names, spiffe: undefined })?.headends.has('hub-b'), true);
  assert.equal(file.of({ ...nobody, subject: names.subject })?.watches.has('hub-7'), true);
  assert.equal(file.of({ ...nobody, subject: 'CN=carol' }), undefined);
  assert.equal(file.of(nobody), undefined);
});

test('an asterisk stands for the rest of a name, and for nothing else', () => {
  const grants = parse({ identities: { 'DNS:a': { watch: ['hub-*', 'x'] } } }).of({ ...nobody, dns: ['a'] })!;
  assert.deepEqual(
    ['hub-', 'hub-1', 'hub', 'x', 'x1', '*'].filter((name) => grants.watches.has(name)),
    ['hub-', 'hub-1', 'x'],
  );
});

test('a mistake is refused with its place', () => {
  const cases: [unknown, RegExp][] = [
    [[], /the file is no object/],
    [{ identity: {} }, /"identity" is not known; there is identities/],
    [{ identities: [] }, /identities is no object/],
    [{ identities: { carol: {} } }, /"carol" is no spiffe:\/\/\.\.\., DNS:\.\.\. or subject/],
    [{ identities: { 'DNS:a': 7 } }, /DNS:a is no object/],
    [{ identities: { 'DNS:a': { headends: [] } } }, /DNS:a: "headends" is not known/],
    [{ identities: { 'DNS:a': { headend: 'hub-1' } } }, /DNS:a: headend is no list of headends/],
    [{ identities: { 'DNS:a': { watch: ['hub-*-1'] } } }, /DNS:a: watch is no list of headends/],
    [{ identities: { 'DNS:a': { operator: 'root' } } }, /DNS:a: operator is not none, read, act/],
    [{ identities: { 'DNS:a': { operator: 'toString' } } }, /DNS:a: operator is not none, read, act/],
  ];
  for (const [raw, message] of cases) assert.throws(() => parse(raw), message);
});
