/** Data in Redis, or published there: each record is read, or refused with its key, without further effect. */

import assert from 'node:assert/strict';
import { create, toBinary } from '@bufbuild/protobuf';
import { SaKeysSchema, SaSchema, VerdictSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { readProgress } from '../../../services/failover/plan.ts';
import { readMessage } from '../../../services/store/cluster/bus.ts';
import { readMembers } from '../../../services/store/cluster/members.ts';
import { BUS } from '../../../services/store/keys.ts';
import { readFormer } from '../../../services/store/shard/former-owners.ts';
import { readStoredPath } from '../../../services/store/shard/stored-path.ts';
import { readVerdict, VerdictSeal, writeVerdict } from '../../../services/store/shard/stored-verdict.ts';
import { RecordError } from '../../../workers/base/errors.ts';
import { packPage } from '../../../workers/sa/sa-page.ts';
import type { FromShard } from '../../../workers/shard/protocol.ts';
import { Shard } from '../../../workers/shard/shard.ts';
import { ROW_LENGTH } from '../../../workers/takeover/checkpoint.ts';
import type { Random } from '../../simulation/random.ts';
import { TEST_MAC } from '../../test-mac.ts';
import { spoil, spoilJson } from '../bytes.ts';
import { mutateMessage } from '../wire.ts';
import { goodSa } from './samples.ts';

const SHARD = { headend: 'hub', shard: 0 };
const SPI = '00000000000000010000000000000002';
const MESSAGES = [
  { type: 'yield', ...SHARD, epoch: '7', to: 'node', claim: { instance: 'x', takeOver: false } },
  { type: 'kept', ...SHARD, epoch: '7', address: '192.0.2.1:7' },
  { type: 'look', ...SHARD },
  { type: 'acknowledged', ...SHARD, verdictId: 'a.1', outcome: 'CLEARED' },
];
const MEMBER = { address: 'unix:/a', draining: false, shards: 1, peers: 2 };
const WAY = { local: '192.0.2.1', ikePort: 4_500, index: 1, canaryAddress: '192.0.2.2', canaryPort: 4_500 };
const PATH = { guarded: true, ready: true, returning: true, ways: [WAY, { ...WAY, ikePort: 500 }] };
const PROGRESS = { attempt: 1, beganUnix: 1, attemptUnix: 1, tried: [0, 1], rounds: 1 };
const VERDICT = writeVerdict(create(VerdictSchema, { id: 'a.1', endpoints: [{ address: '192.0.2.1' }] }));

/** A text of JSON, spoiled as a value or as bytes. */
function text(value: unknown, random: Random): string {
  const json = JSON.stringify(spoilJson(value, random));
  return random.chance(0.3) ? spoil(Buffer.from(json), random).toString() : json;
}

/** The same as a node writes it; or spoiled even then, which no reader may get past the MAC. */
function sealed(place: string, value: unknown, random: Random): string {
  const record = TEST_MAC.sealText(place, text(value, random));
  return random.chance(0.2) ? spoil(Buffer.from(record), random).toString() : record;
}

/** Whether reading succeeded; it may throw only if its caller treats that as an unreadable record. */
function reads(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}

export function fuzzRecords(random: Random): boolean {
  const refused = (error: Error) => assert(error instanceof RecordError && error.message.startsWith('dpd:'));
  const message = readMessage(sealed(BUS, random.pick(MESSAGES), random), TEST_MAC);
  const names = ['a', 'b'];
  const rows = names.flatMap((name) => [name, sealed(`member ${name}`, MEMBER, random)]);
  const members = readMembers(rows, TEST_MAC, refused);
  const seal = new VerdictSeal(TEST_MAC, SHARD);
  const entry = Buffer.concat([seal.seal(VERDICT), seal.seal(VERDICT)]);
  seal.openAll(random.chance(0.5) ? spoil(entry, random) : seal.seal(spoil(VERDICT, random)));
  const path = readStoredPath('dpd:lease', text(PATH, random));
  if (!(path instanceof RecordError)) shardOf([]).handle({ type: 'path', path });
  reads(() => readProgress(text(PROGRESS, random)));
  reads(() => readVerdict(spoil(VERDICT, random)));
  return !(message instanceof RecordError) || members.length > 0;
}

/** A shard is taken over from any data in Redis: it goes on probing, and checkpoints what it has. */
export function fuzzTakeover(random: Random): boolean {
  const posted: FromShard[] = [];
  const shard = shardOf(posted);
  const row = Buffer.alloc(ROW_LENGTH);
  row.write(SPI, 'hex');
  row.writeUInt32BE(9, 16);
  const former = readFormer(
    SHARD,
    {
      checkpoint: {
        at: spoil(Buffer.from('17'), random),
        taken: random.chance(0.5) ? Buffer.from('18') : spoil(Buffer.from('18'), random),
        [String(spoil(Buffer.from('1:0'), random))]: row,
        '2:0': random.chance(0.5) ? spoil(row, random) : spoilNumbers(row, random),
      },
      translated: { [SPI]: String(spoil(Buffer.from(`${2 ** 30}:7`), random)) },
    },
    20,
    () => {},
  );
  const rows = [1, 2, 3].map((n) => {
    const { keys, ...sa } = goodSa(n, random);
    sa.id!.responderSpi = BigInt(n);
    const message = toBinary(SaSchema, { ...sa, keys: undefined });
    const spoiled = random.chance(0.5) ? mutateMessage(message, SaSchema, random) : spoil(message, random);
    const itsKeys = keys && toBinary(SaKeysSchema, keys);
    return { handle: n, site: 0, dead: random.chance(0.2), sa: n === 1 ? message : spoiled, keys: itsKeys };
  });
  const page = packPage(rows);
  if (random.chance(0.3)) page.bytes.set(spoil(page.bytes, random).subarray(0, page.bytes.length));
  shard.handle({ type: 'takeOver', former });
  shard.handle({ type: 'resume', request: 1, page });
  shard.handle({ type: 'takeOver', former: undefined });
  for (let now = 0; now < 200; now++) shard.tick();
  const { chunks } = shard.checkpoint(true);
  assert(chunks.length <= 1);
  const answer = posted.find((one) => one.type === 'answer');
  assert(answer?.type === 'answer' && 'unreadable' in answer.body);
  return answer.body.unreadable.length < rows.length;
}

/** The numbers of a row, as far from those of a row as they come. */
function spoilNumbers(row: Buffer, random: Random): Buffer {
  const spoiled = Buffer.from(row);
  spoiled.writeUInt32BE(random.pick([0, 2 ** 29, 2 ** 30 - 1, 2 ** 30, 2 ** 32 - 1]), 16);
  spoiled.writeDoubleBE(random.pick([0, -1, 1e15, 1e300, Number.NaN, Number.POSITIVE_INFINITY]), 20);
  spoiled.writeUInt8(random.integer(0, 255), 28);
  spoiled.writeUInt16BE(random.pick([0, 1, 1_023, 65_535]), 29);
  return spoiled;
}

function shardOf(posted: FromShard[]): Shard {
  let now = 0;
  const shard: Shard = new Shard({
    now: () => {
      now += 5;
      return now;
    },
    wall: () => now,
    fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
    post: (message) => posted.push(message),
    send: () => true,
    shard: 0,
    vault: { open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) },
  });
  return shard;
}
