/** Keys as a shard holds them, back in the API's form. */

import { create } from '@bufbuild/protobuf';
import { type Sa, type SaKeys, SaKeysSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { SUITES } from '../../workers/ike/algorithms.ts';
import { splitKeyMaterial } from '../../workers/ike/sessions.ts';

/** The message of an SA's keys from their suite and material. */
export function toSaKeys(sa: Sa, { suite: index, material }: { suite: number; material: Uint8Array }): SaKeys {
  const suite = SUITES[index]!;
  return create(SaKeysSchema, {
    encryption: suite.encryption,
    integrity: suite.integrity,
    ...splitKeyMaterial(suite, sa.headendIsInitiator, material),
  });
}
