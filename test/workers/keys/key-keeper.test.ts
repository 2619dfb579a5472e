import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { SaKeysSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { NOWHERE } from '../../../workers/base/address.ts';
import { VaultError } from '../../../workers/base/errors.ts';
import { wordsHex } from '../../../workers/base/spi.ts';
import { IKEV1_SUITES, ikev1MaterialLength } from '../../../workers/ikev1/suites.ts';
import { SessionFlag, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { KeyKeeper } from '../../../workers/keys/key-keeper.ts';
import { packKeys, unpackKeys } from '../../../workers/keys/keys-page.ts';
import { placeOfKeys, Vault } from '../../../workers/keys/vault.ts';
import { readKeys } from '../../../workers/sa/sa-message.ts';
import { packPage } from '../../../workers/sa/sa-page.ts';

const { encryption, integrity, keyLength, saltLength, integrityKeyLength } = SUITES[0]!;
const VAULT = new Vault([Buffer.alloc(32, 1)]);

/** SaKeys of the SA with this number, and its SPIs. */
const message = (n: number) => {
  const ske = (byte: number) => Buffer.alloc(keyLength + saltLength, byte);
  const ska = Buffer.alloc(integrityKeyLength, 9);
  const keys = { encryption, integrity, skEi: ske(n), skEr: ske(n + 100), skAi: ska, skAr: ska };
  return toBinary(SaKeysSchema, create(SaKeysSchema, keys));
};
const open = (n: number) => {
  const { suite, material } = readKeys(message(n), true);
  return { suite, material: Uint8Array.from(material) };
};
const spi = (n: number) => [0, 7, 0, n] as const;
const place = (n: number, headend = 'hub') => placeOfKeys(headend, wordsHex(spi(n)));

/** A table with SAs at handles 0 to `count` - 1, their keys sealed; those of `spoiled` for another headend. */
function takenOver(count: number, spoiled: readonly number[] = []) {
  const sessions = new SessionTable();
  const keeper = new KeyKeeper(sessions, VAULT);
  keeper.takeOver('hub');
  const rows = Array.from({ length: count }, (_, handle) => ({
    handle,
    site: 0,
    dead: false,
    sa: Buffer.from('sa'),
    keys: VAULT.seal(message(handle), place(handle, spoiled.includes(handle) ? 'another' : 'hub')),
  }));
  const page = packPage(rows);
  const fixed = { headendIsInitiator: true, address: NOWHERE, port: 4_500, nextMid: 0 };
  for (const { handle } of rows)
    sessions.add({ handle, spi: spi(handle), ...fixed, keys: keeper.keep(handle, page, handle) });
  return { sessions, keeper };
}

test('keys taken over are opened when they are needed, or when there is time, the oldest first', () => {
  const { sessions, keeper } = takenOver(40, [2]);
  assert.equal(sessions.is(7, SessionFlag.KEYED | SessionFlag.SEALED), true);
  assert.equal(sessions.exportKeys(7), undefined);
  assert.equal(keeper.opened(7), true);
  assert.equal(sessions.is(7, SessionFlag.SEALED), false);
  assert.deepEqual(sessions.exportKeys(7), open(7));

  assert.equal(keeper.hasSealed, false, 'more may come');
  keeper.takeOver(undefined);
  keeper.openSome();
  const sealed = () => [...Array(40).keys()].filter((handle) => sessions.is(handle, SessionFlag.SEALED));
  assert.deepEqual(sealed(), [2, ...[...Array(40).keys()].slice(17)]);
  assert.deepEqual(keeper.drainUnreadable(), [2]);
  assert.deepEqual(keeper.drainUnreadable(), []);

  // One is gone, and one has been given its keys.
  sessions.remove(30);
  keeper.forget(30);
  sessions.setKeys(31, open(99));
  keeper.forget(31);
  for (let n = 0; n < 2; n++) keeper.openSome();
  assert.equal(keeper.hasSealed, false);
  assert.deepEqual(sealed(), [2]);
  assert.deepEqual(sessions.exportKeys(31), open(99));
  assert.equal(keeper.opened(2), false);
});

test('keys are sealed for their own place, as a headend gives them and as the shard holds them', () => {
  const { sessions, keeper } = takenOver(3, [2]);
  const page = packKeys([0, 1].map((n) => ({ spi: spi(n), keys: message(n) })));
  const sealed = unpackKeys(keeper.seal(page));
  assert(
    page.bytes.every((byte) => byte === 0),
    'keys stay in their page',
  );
  sealed.forEach(({ spi: its, keys }, n) => {
    assert.deepEqual(its, spi(n));
    assert.deepEqual(VAULT.open(keys, place(n)), Buffer.from(message(n)));
    assert.throws(() => VAULT.open(keys, place(n + 1)), VaultError);
  });
  const held = keeper.sealHeld(1)!;
  assert.equal(held.byteLength, held.buffer.byteLength, 'it takes others along');
  assert.deepEqual(VAULT.open(held, place(1)), Buffer.from(message(1)));
  assert.equal(keeper.sealHeld(2), undefined);
  sessions.add({ handle: 3, spi: spi(3), headendIsInitiator: true, address: NOWHERE, port: 1, nextMid: 0 });
  assert.equal(keeper.sealHeld(3), undefined);
});

test('a shard that ends leaves no keys: neither those of SAs that it held, nor those of SAs that were gone before', () => {
  const { sessions, keeper } = takenOver(3);
  for (let handle = 0; handle < 3; handle++) keeper.opened(handle);
  sessions.wipe();
  for (let handle = 0; handle < 3; handle++) {
    const { material } = sessions.exportKeys(handle)!;
    assert(material.every((byte) => byte === 0));
  }
});

test('keys of IKEv1 are wiped with the others', () => {
  const sessions = new SessionTable();
  const [suite] = IKEV1_SUITES;
  const material = new Uint8Array(ikev1MaterialLength(suite!)).fill(7);
  const keys = { suite: suite!.index, material };
  sessions.add({
    handle: 0,
    spi: spi(0),
    ikev1: true,
    headendIsInitiator: true,
    address: NOWHERE,
    port: 1,
    nextMid: 1,
    keys,
  });
  sessions.wipe();
  assert(sessions.exportKeys(0)!.material.every((byte) => byte === 0));
});
