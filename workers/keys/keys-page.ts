/**
 * Keys on their way into Redis. The main thread gets them from the headend, but the shard's thread seals them, because
 * sealing takes as long as the rest of a registration.
 */

import { create, toBinary } from '@bufbuild/protobuf';
import { SaKeysSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import type { SpiWords } from '../base/spi.ts';
import { FIRST_IKEV1_SUITE, IKEV1_SUITES, splitIkev1Material } from '../ikev1/suites.ts';
import { type SessionKeys, splitKeyMaterial } from '../ikev2/sessions.ts';
import { SUITES } from '../ikev2/suites.ts';

/** SaKeys messages in a row, plain or sealed. */
export type KeysPage = {
  /** Words of their SAs' SPIs, four each. */
  readonly spis: Uint32Array<ArrayBuffer>;
  /** Where each message ends in `bytes`. */
  readonly ends: Uint32Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
};

/** Copies messages into a page. */
export function packKeys(rows: readonly { readonly spi: SpiWords; readonly keys: Uint8Array }[]): KeysPage {
  const page = {
    spis: new Uint32Array(4 * rows.length),
    ends: new Uint32Array(rows.length),
    bytes: new Uint8Array(rows.reduce((sum, { keys }) => sum + keys.length, 0)),
  };
  let at = 0;
  rows.forEach(({ spi, keys }, n) => {
    page.spis.set(spi, 4 * n);
    page.bytes.set(keys, at);
    at += keys.length;
    page.ends[n] = at;
  });
  return page;
}

/** The messages of a page, as views. */
export function unpackKeys({ spis, ends, bytes }: KeysPage): { spi: SpiWords; keys: Uint8Array }[] {
  return Array.from(ends, (end, n) => ({
    spi: [spis[4 * n]!, spis[4 * n + 1]!, spis[4 * n + 2]!, spis[4 * n + 3]!],
    keys: bytes.subarray(n === 0 ? 0 : ends[n - 1]!, end),
  }));
}

/** The SaKeys message of keys as a shard holds them. */
export function encodeKeys({ suite: index, material }: SessionKeys, headendIsInitiator: boolean): Uint8Array {
  const old = IKEV1_SUITES[index - FIRST_IKEV1_SUITE];
  if (old) {
    const { encryption, prf } = old;
    return toBinary(SaKeysSchema, create(SaKeysSchema, { encryption, prf, ...splitIkev1Material(old, material) }));
  }
  const suite = SUITES[index]!;
  const { encryption, integrity } = suite;
  const keys = splitKeyMaterial(suite, headendIsInitiator, material);
  return toBinary(SaKeysSchema, create(SaKeysSchema, { encryption, integrity, ...keys }));
}
