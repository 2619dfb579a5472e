/** Upserts in unusual encodings: the shard's thread and the records must read exactly what validation checked. */

import assert from 'node:assert/strict';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ConnectShardRequestSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { Action, DpdSupport, Mode, type Sa, SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { applyPresets } from '../../../services/api/policy/merge.ts';
import { spiWords } from '../../../services/api/spi.ts';
import { checkSizes, checkUpsert } from '../../../services/api/validation.ts';
import { upsertBytes } from '../../../services/node/api/headend/upsert-bytes.ts';
import { ShardRecords } from '../../../services/node/records/records.ts';
import { Address } from '../../../workers/base/address.ts';
import { findIkev1Suite, ikev1Material } from '../../../workers/ikev1/suites.ts';
import { keyMaterial } from '../../../workers/ikev2/sessions.ts';
import { findSuite } from '../../../workers/ikev2/suites.ts';
import { MessageReader } from '../../../workers/sa/message-reader.ts';
import { readKeys, readSa, readSaHead } from '../../../workers/sa/sa-message.ts';
import type { SaBytes } from '../../../workers/sa/sa-page.ts';
import { checkWatchable } from '../../../workers/sa/watchable.ts';
import type { Random } from '../../simulation/random.ts';
import { mutateMessage } from '../wire.ts';
import { goodSa } from './samples.ts';

const DOOR = { shard: 0, shards: 1, loopback: false };

export function fuzz(random: Random): boolean {
  const sas = Array.from({ length: random.integer(1, 3) }, (_, n) => goodSa(n + 1, random));
  const good = create(ConnectShardRequestSchema, { message: { case: 'upsert', value: { batchId: 1n, sas } } });
  return agree(mutateMessage(toBinary(ConnectShardRequestSchema, good), ConnectShardRequestSchema, random));
}

/** Asserts that all readers of a request read the same, if validation accepts it. Returns whether it does. */
export function agree(request: Buffer): boolean {
  const upsert = taken(request);
  if (!upsert) return false;
  const { sas, changed } = upsert;
  const bytes = upsertBytes(request, sas, changed);
  assert.equal(bytes.length, sas.length);
  if (checkSizes(bytes).length > 0) return false;
  sas.forEach((sa, n) => compare(sa, bytes[n]!));
  return true;
}

/** SAs that validation accepts; undefined: it refuses. */
function taken(request: Buffer): { sas: Sa[]; changed: boolean } | undefined {
  try {
    const { message } = fromBinary(ConnectShardRequestSchema, request);
    if (message.case !== 'upsert') return undefined;
    const { sas } = message.value;
    const changed = applyPresets(sas);
    return checkUpsert(message.value, DOOR).length === 0 ? { sas, changed } : undefined;
  } catch {
    return undefined;
  }
}

function compare(sa: Sa, { sa: bytes, keys }: SaBytes): void {
  const read = readSa(new MessageReader(bytes));
  const endpoint = sa.endpoints[sa.activeEndpoint]!;
  const { $typeName, $unknown, action, preset, source, observe, ...policy } = sa.policy!;
  const ikev1 = sa.ikeVersion === 1;
  assert.deepEqual(read, {
    spi: [...spiWords(sa.id!)],
    ikev1,
    headendIsInitiator: sa.headendIsInitiator,
    address: Address.of(endpoint.address),
    port: endpoint.port || 4_500,
    policy: {
      ...policy,
      asksDead: observe || action === Action.NOTIFY,
      mode: ikev1 && sa.dpdSupport === DpdSupport.ABSENT ? Mode.DISABLED : policy.mode,
      unprovenMs: ikev1 && sa.dpdSupport !== DpdSupport.ANNOUNCED ? 0 : policy.unprovenMs,
    },
    nextMessageId: sa.nextMessageId,
    parked: sa.parked,
    local: sa.localAddress,
    ikePort: sa.localPort || 4_500,
    muteUntilUnixMs: Number(sa.muteUntilUnixMs),
  });
  checkWatchable(read);
  const { revision, site } = sa;
  assert.deepEqual(readSaHead(new MessageReader(bytes)), { spi: [...spiWords(sa.id!)], revision, site });
  const records = new ShardRecords();
  const kept = records.get(records.put(spiWords(sa.id!), revision, 0, new MessageReader(bytes)))!;
  assert.deepEqual(known(kept), known({ ...sa, keys: undefined }));
  assert.equal(keys !== undefined, sa.keys !== undefined);
  if (!keys || !sa.keys) return;
  if (ikev1) {
    const suite = findIkev1Suite(sa.keys.encryption, sa.keys.encryptionKey.length, sa.keys.prf)!;
    const material = ikev1Material(suite, sa.keys);
    assert.deepEqual(readKeys(keys, sa.headendIsInitiator), { suite: suite.index, material });
    return;
  }
  const suite = findSuite(sa.keys.encryption, sa.keys.integrity, sa.keys.skEi.length)!;
  const material = keyMaterial(suite, sa.headendIsInitiator, sa.keys);
  assert.deepEqual(readKeys(keys, sa.headendIsInitiator), { suite: suite.index, material });
  assert.equal(Buffer.from(bytes).includes(Buffer.from(sa.keys.skEi)), false, 'a key is left in the SA');
  assert.deepEqual(known(fromBinary(SaKeysSchema, keys), SaKeysSchema), known(sa.keys, SaKeysSchema));
}

/** What this release knows of a message. */
function known(message: object, schema: typeof SaSchema | typeof SaKeysSchema = SaSchema): Buffer {
  return Buffer.from(toBinary(schema as typeof SaSchema, message as Sa, { writeUnknownFields: false }));
}
