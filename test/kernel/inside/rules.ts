/** The product's steering rules, loaded into a hub's kernel. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderRules } from '../../../services/agent/headend/nftables/rules.ts';
import { EXCHANGE_INFORMATIONAL, FLAG_RESPONSE, Offset, PAYLOAD_SK, VERSION_2 } from '../../../workers/ikev2/header.ts';
import type { Lab } from './lab.ts';
import { HUB } from './network.ts';

/** Where each shard's probes leave from on the hub. */
export const SHARD_PORTS: readonly number[] = [14_500, 14_501];

/** Puts the rules up for a node on the hub itself. */
export async function steer(lab: Lab): Promise<void> {
  const care = SHARD_PORTS.map((_, shard) => informational(true, shard).readUInt32BE(Offset.SPI_R + 4));
  const probes = SHARD_PORTS.map((port) => ({ address: '', address6: '', port }));
  const file = join(lab.directory, 'steering.nft');
  writeFileSync(file, renderRules({ steering: { kind: 'local' }, probes, ways: [HUB.outer[4]], care }));
  await lab.hub.run('nft', '-f', file);
}

/** An IKEv2 INFORMATIONAL message as on port 4500, with nothing in it that opens. @param shard the responder SPI ends in it */
export function informational(response: boolean, shard: number): Buffer {
  const message = Buffer.alloc(Offset.BODY + 28);
  message.writeBigUInt64BE(0x1122334455667788n, Offset.SPI_I);
  message.writeBigUInt64BE(0x99aabbccddeeff00n | BigInt(shard), Offset.SPI_R);
  message[Offset.NEXT_PAYLOAD] = PAYLOAD_SK;
  message[Offset.VERSION] = VERSION_2;
  message[Offset.EXCHANGE] = EXCHANGE_INFORMATIONAL;
  message[Offset.FLAGS] = response ? FLAG_RESPONSE : 0;
  message.writeUInt32BE(message.length - 4, Offset.LENGTH);
  message.writeUInt16BE(message.length - Offset.SK, Offset.SK_LENGTH);
  return message;
}
