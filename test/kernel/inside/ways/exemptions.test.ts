import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exemptions } from '../../../../services/agent/headend/xfrm/exemptions.ts';
import { Namespace } from '../netns.ts';

test('nodes are exempt from IPsec for as long as they probe from there', async (t) => {
  const hub = await Namespace.make('exempt-hub');
  const exemptions = hub.enter(() => Exemptions.open())!;
  t.after(async () => {
    exemptions.close();
    await hub.remove();
  });
  const policies = async () =>
    (await hub.ip('xfrm', 'policy'))
      .trim()
      .split(/\n(?!\s)/)
      .map((policy) => policy.replaceAll(/\s+/g, ' ').trim())
      .filter((policy) => policy !== '')
      .sort();
  const of = (node: string, port: number) => {
    const [own, any] = node.includes(':') ? [`${node}/128`, '::/0'] : [`${node}/32`, '0.0.0.0/0'];
    return [
      `src ${own} dst ${any} proto udp sport ${port} dir out priority 1 ptype main`,
      `src ${any} dst ${own} proto udp dport ${port} dir fwd priority 1 ptype main`,
    ];
  };

  exemptions.set([
    { address: '10.9.0.2', port: 14_500 },
    { address: 'fd00::3', port: 14_501 },
  ]);
  assert.deepEqual(await policies(), [...of('10.9.0.2', 14_500), ...of('fd00::3', 14_501)].sort());

  // The second shard has moved; the first one is set again, as if another program had removed it.
  await hub.ip('xfrm', 'policy', 'flush');
  exemptions.set([
    { address: '10.9.0.2', port: 14_500 },
    { address: '10.9.0.2', port: 14_501 },
  ]);
  assert.deepEqual(await policies(), [...of('10.9.0.2', 14_500), ...of('10.9.0.2', 14_501)].sort());

  exemptions.set([]);
  assert.deepEqual(await policies(), []);
});
