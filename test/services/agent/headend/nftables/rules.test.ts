import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGrammar } from '../../../../../services/agent/headend/nftables/grammar.ts';
import { readStatus, renderRules, type Steering } from '../../../../../services/agent/headend/nftables/rules.ts';
import { SteeringError } from '../../../../../workers/base/errors.ts';
import { inNewNetwork } from './network.ts';

const PROBES = [14_500, 14_501, 14_502, 14_503].map((port) => ({ address: '', address6: '', port }));
const WAYS = ['192.0.2.1', '198.51.100.1'];
const REMOTE: Steering = {
  kind: 'remote',
  nodeAddress: '10.9.0.2',
  nodeAddress6: '2001:db8:9::2',
  nodeInterface: 'eth1',
};

describe('rules', () => {
  test('every shard has its port, every address of the hub its marker, every SA in care its element', () => {
    const rules = renderRules({ steering: { kind: 'local' }, probes: PROBES, ways: WAYS, care: [0, 0xabcd] });
    assert.match(rules, /udp dport set @th,216,8 & 0x3 map \{ 0 : 14500, 1 : 14501, 2 : 14502, 3 : 14503 \}/);
    assert.match(rules, /@th,64,32 0xffff rt ipsec missing ip saddr set 192\.0\.2\.1 /);
    assert.match(rules, /@th,64,32 0x2fffd rt ipsec missing ip saddr set 198\.51\.100\.1 /);
    assert.match(rules, /elements = \{ 0x0, 0xabcd \}/);
  });

  test('IKEv1: encrypted Informationals of SAs in care come to their shard, as long as its canaries come by', () => {
    for (const steering of [{ kind: 'local' } as const, REMOTE]) {
      const rules = renderRules({ steering, probes: PROBES, ways: WAYS, care: [0] });
      assert.match(rules, /set alive \{ typeof @th,192,32; size 256; flags dynamic,timeout; timeout 3s; \}/);
      const brought = rules.split('\n').filter((rule) => rule.includes('0x8100501 @th,192,32 @care'));
      assert.equal(brought.length, 1);
      assert.match(brought[0]!, /@th,64,32 0x0 meta mark != \S+ @th,224,32 0x8100501 .* @th,192,32 & 0x3 @alive /);
      assert.match(rules, /@th,192,32 0x8100501 @th,160,32 @care @th,160,32 & 0x3 @alive /, 'on port 500');
      assert.equal(rules.match(/update @alive/g)?.length, 2, 'on both ports');
    }
  });

  test('a parked daemon’s requests are taken by version: IKEv1 has the same ids at random', () => {
    const rules = renderRules({ steering: { kind: 'local' }, probes: PROBES, ways: WAYS, care: [] });
    const taken = rules.split('\n').filter((rule) => rule.includes('& 0xc0 == 0x40'));
    assert.equal(taken.length, 2);
    for (const rule of taken) assert.match(rule, /@th,(232|200),8 0x20 /);
  });

  test('of several nodes each gets what is for its shards, and only what comes from there is steered', () => {
    const probes = [PROBES[0]!, { address: '10.9.0.3', address6: '', port: 2 }];
    const rules = renderRules({ steering: REMOTE, probes, ways: WAYS, care: [] });
    assert.match(rules, /iifname "eth1" ip saddr \. udp sport \{ 10\.9\.0\.2 \. 14500, 10\.9\.0\.3 \. 2 \}/);
    assert.match(rules, /ip daddr set @th,216,8 & 0x1 map \{ 0 : 10\.9\.0\.2, 1 : 10\.9\.0\.3 \}/);
  });

  test('IPv6 has a table of its own once a way is of it; the numbers of ways are those of all', () => {
    const table6 = (ways: readonly string[], steering: Steering = { kind: 'local' }) =>
      renderRules({ steering, probes: PROBES, ways, care: [0xabcd] }).split('table ip6 dpd_offload {')[1] ?? '';
    assert.equal(table6(WAYS), '');
    const local = table6([WAYS[0]!, '2001:db8::1']);
    assert.match(local, /@th,64,32 0x2fffd rt ipsec missing ip6 saddr set 2001:db8::1 /);
    assert.match(local, /elements = \{ 0xabcd \}/);
    assert.doesNotMatch(local, /192\.0\.2\.1|127\.0\.0\.1|ip [sd]addr/);
    assert.match(table6(['2001:db8::1'], REMOTE), /ip6 saddr \. udp sport \{ 2001:db8:9::2 \. 14500, /);
  });

  for (const steering of [{ kind: 'local' } as const, REMOTE])
    for (const ways of [WAYS, [...WAYS, '2001:db8::1', '192.0.2.1 500', '2001:db8::1 500']])
      test(`the kernel takes them, and tells of them: ${steering.kind}, ${ways}`, { skip: inNewNetwork.skip }, () => {
        const rules = renderRules({ steering, probes: PROBES, ways, care: [0, 1, 0xffffffff] });
        const tables = ways === WAYS ? ['ip'] : ['ip', 'ip6'];
        const list = tables.map((family) => `nft -j -t list table ${family} dpd_offload`).join(' && ');
        const listings = inNewNetwork(`ip link add eth1 type veth peer name eth2; nft -f - && ${list}`, rules);
        assert.deepEqual(readStatus(...listings.trim().split('\n')), { inbound: true, ways });
        const withoutAnswers = listings.trim().replace(/answers come to their shard(?!.*answers come)/s, '');
        assert.equal(readStatus(...withoutAnswers.split('\n')).inbound, false, 'answers of one family come nowhere');
      });
});

test('what is no address, port or interface cannot stand in rules', () => {
  const local = { steering: { kind: 'local' } as const, probes: PROBES, ways: WAYS };
  checkGrammar({ ...local, ways: [...WAYS, '', '2001:db8::1', '192.0.2.1 500'] });
  checkGrammar({ ...local, steering: REMOTE });
  const probe = { address: '', address6: '', port: 14_500 };
  for (const wrong of [
    { ways: ['192.0.2.1; flush ruleset'] },
    { ways: ['192.0.2.1 4501'] },
    { ways: ['192.0.2.1 500 "'] },
    { ways: ['fe80::1%eth0'] },
    { probes: [{ ...probe, port: 0 }] },
    { probes: [{ ...probe, port: 65_536 }] },
    { probes: [{ ...probe, address: '10.0.0.1 }\nflush ruleset' }] },
    { probes: [{ ...probe, address6: '::1%lo' }] },
    { steering: { ...REMOTE, nodeInterface: 'eth1"; flush ruleset' } },
    { steering: { ...REMOTE, nodeInterface: 'sixteen-letters-' } },
    { steering: { ...REMOTE, nodeAddress: '' } },
  ])
    assert.throws(() => checkGrammar({ ...local, ...wrong }), SteeringError, JSON.stringify(wrong));
});
