/** Good inputs to begin with. */

import { create } from '@bufbuild/protobuf';
import { type Mode, type Sa, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { IKEV1_SUITES } from '../../../workers/ikev1/suites.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import type { Random } from '../../simulation/random.ts';

/** An SA of any kind that the API accepts. */
export function goodSa(n: number, random: Random): Sa {
  const suite = random.pick(SUITES);
  const key = (length: number) => {
    const bytes = Buffer.alloc(length);
    random.fill(bytes);
    return bytes;
  };
  const ske = suite.keyLength + suite.saltLength;
  const ska = suite.integrityKeyLength;
  const { encryption, integrity } = suite;
  const old = random.chance(0.3) ? random.pick(IKEV1_SUITES) : undefined;
  const keys = old
    ? {
        encryption: old.encryption,
        prf: old.prf,
        encryptionKey: key(old.keyLength),
        skeyidA: key(old.hashLength),
        phase1Block: key(old.blockLength),
      }
    : { encryption, integrity, skEi: key(ske), skEr: key(ske), skAi: key(ska), skAr: key(ska) };
  return create(SaSchema, {
    id: { initiatorSpi: BigInt(n), responderSpi: BigInt(random.uint32() + 1) },
    peerId: `spoke-${n}`,
    ikeVersion: old ? 1 : 2,
    dpdSupport: old ? random.integer(0, 2) : 0,
    headendIsInitiator: random.chance(0.5),
    endpoints: [
      { address: '192.0.2.1', port: 4_500, connection: 'first' },
      { address: '2001:db8::1', port: 500 },
    ],
    activeEndpoint: random.integer(0, 1),
    policy: {
      mode: random.pick([1, 2, 3, 4] as Mode[]),
      intervalMs: 10_000,
      retryIntervalMs: 1_000,
      retries: 3,
      action: 1,
      preset: random.pick(['', '', '', 'strongswan', 'fortios-on-idle']),
    },
    ...(random.chance(0.7) && { keys }),
    nextMessageId: random.integer(0, 9),
    childSpis: Array.from({ length: random.integer(0, 3) }, () => random.uint32()),
    revision: random.uint32(),
    parked: random.chance(0.5),
    localAddress: random.pick(['', '192.0.2.9', '2001:db8::9']),
    localPort: random.pick([0, 500, 4_500]),
    site: random.pick(['', 'west']),
    muteUntilUnixMs: random.pick([0n, 1_800_000_000_000n]),
    pinnedEndpoint: random.integer(0, 2),
  });
}
