import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { identityOf } from '../../../loadtest/spokes/fleet.ts';
import { NOWHERE } from '../../../workers/base/address.ts';
import { Ikev2Exchange } from '../../../workers/ikev2/exchange.ts';
import { keyMaterial, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { Encryption, SUITES, type Suite } from '../../../workers/ikev2/suites.ts';
import { skipUnless } from '../../requirements.ts';

const SKIP = skipUnless({ tshark: ['/usr/bin/tshark'] }, { root: false });
/** Wireshark 4.0 does not decrypt ChaCha20-Poly1305 in IKEv2; strongSwan's messages vouch for that suite. */
const KNOWN = SUITES.filter(({ encryption }) => encryption !== Encryption.CHACHA20_POLY1305);
const INTEGRITY: Record<number, string> = {
  0: 'NONE [RFC4306]',
  2: 'HMAC_SHA1_96 [RFC2404]',
  12: 'HMAC_SHA2_256_128 [RFC4868]',
  13: 'HMAC_SHA2_384_192 [RFC4868]',
  14: 'HMAC_SHA2_512_256 [RFC4868]',
};

test('tshark, given the keys, reads our probes', { skip: SKIP }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-tshark-'));
  try {
    const packets: Buffer[] = [];
    const table: string[] = [];
    for (const suite of KNOWN) {
      const identity = identityOf('tshark', suite.index, 0);
      const sessions = new SessionTable();
      sessions.add({
        handle: 0,
        spi: identity.spi,
        headendIsInitiator: false,
        address: NOWHERE,
        port: 0,
        nextMid: 7,
        keys: { suite: suite.index, material: keyMaterial(suite, false, identity) },
      });
      const exchange = new Ikev2Exchange(sessions, (bytes, from, to) => bytes.fill(0x3c, from, to));
      exchange.begin(0);
      const packet = Buffer.alloc(exchange.length(0));
      exchange.write(0, 0, packet);
      packets.push(packet);
      const words = identity.spi.map((word) => word.toString(16).padStart(8, '0'));
      const text = (key: Uint8Array) => Buffer.from(key).toString('hex');
      table.push(
        [
          words[0]! + words[1]!,
          words[2]! + words[3]!,
          text(identity.skEi),
          text(identity.skEr),
          `"${encryptionName(suite)}"`,
          text(identity.skAi),
          text(identity.skAr),
          `"${INTEGRITY[suite.integrity]}"`,
        ].join(','),
      );
    }
    const pcap = join(directory, 'probes.pcap');
    writeFileSync(pcap, toPcap(packets));
    const output = execFileSync(
      'tshark',
      ['-r', pcap, '-V', '-O', 'isakmp', ...table.flatMap((row) => ['-o', `uat:ikev2_decryption_table:${row}`])],
      { encoding: 'utf8', env: { ...process.env, HOME: directory }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const frames = output.split(/^Frame \d+/m).slice(1);
    assert.equal(frames.length, KNOWN.length);
    frames.forEach((frame, n) => {
      const name = encryptionName(KNOWN[n]!);
      assert.match(frame, /Exchange type: INFORMATIONAL \(37\)/, name);
      assert.match(frame, /Message ID: 0x00000007/, name);
      assert.match(frame, /Integrity Checksum Data: [0-9a-f]+.*\[correct\]/, `${name}\n${frame}`);
      assert.match(frame, /Decrypted Data \(\d+ bytes?\)|Contained Data/, `${name}\n${frame}`);
      assert.doesNotMatch(frame, /incorrect|Malformed/i, name);
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

function encryptionName({ encryption, keyLength, icvLength }: Suite): string {
  const bits = keyLength * 8;
  return encryption === Encryption.AES_CBC
    ? `AES-CBC-${bits} [RFC3602]`
    : `AES-GCM-${bits} with ${icvLength} octet ICV [RFC5282]`;
}

/** A capture of UDP datagrams from port 4500 to 4500, link type raw IPv4. */
function toPcap(datagrams: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65_535, 16);
  header.writeUInt32LE(228, 20);
  const packets = datagrams.map((datagram) => {
    const packet = Buffer.alloc(16 + 28);
    packet.writeUInt32LE(28 + datagram.length, 8);
    packet.writeUInt32LE(28 + datagram.length, 12);
    packet[16] = 0x45;
    packet.writeUInt16BE(28 + datagram.length, 18);
    packet[24] = 64;
    packet[25] = 17;
    packet.set([192, 0, 2, 1, 192, 0, 2, 10], 28);
    packet.writeUInt16BE(4500, 36);
    packet.writeUInt16BE(4500, 38);
    packet.writeUInt16BE(8 + datagram.length, 40);
    return Buffer.concat([packet, datagram]);
  });
  return Buffer.concat([header, ...packets]);
}
