import assert from 'node:assert/strict';
import { test } from 'node:test';
import { displayName, namesOf } from '../../../../services/api/grpc/certificate.ts';

const of = (subjectaltname: string, subject: object = {}) =>
  namesOf({ subjectaltname, subject } as Parameters<typeof namesOf>[0]);

test('names as Node prints them', () => {
  const names = of('DNS:a.example, URI:spiffe://d.example/headend/hub-1, IP Address:127.0.0.1', {
    O: ['X', 'Y'],
    CN: 'z',
  });
  assert.deepEqual(names, {
    spiffe: { domain: 'd.example', path: ['headend', 'hub-1'] },
    dns: ['a.example'],
    subject: 'O=X,O=Y,CN=z',
  });
  assert.equal(displayName(names), 'spiffe://d.example/headend/hub-1');
});

test('a name that holds another’s form stays one name', () => {
  const quoted = JSON.stringify('a, URI:spiffe://d.example/operator/act/eve');
  assert.deepEqual(of(`DNS:${quoted}`), {
    spiffe: undefined,
    dns: ['a, URI:spiffe://d.example/operator/act/eve'],
    subject: '',
  });
});

test('what is no SPIFFE ID, or two, is none', () => {
  for (const names of [
    'URI:spiffe://d.example/a, URI:spiffe://d.example/b',
    'URI:spiffe://d.example/a, URI:https://d.example/b',
    'URI:spiffe://d.example',
    'URI:spiffe://d.example/a//b',
    'URI:spiffe://d.example/a/%2e%2e',
    'URI:spiffe://D.example/a',
    'URI:spiffe://d.example:1/a',
    'URI:http://d.example/a',
    '',
    String.raw`URI:"spiffe://d.example/\x61"`,
  ])
    assert.equal(of(names).spiffe, undefined, names);
});

test('a certificate without any name has one for people', () => {
  assert.equal(displayName(of('')), 'a certificate without a name');
});
