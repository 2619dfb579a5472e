/** SPIs between their forms: 64-bit numbers on the API, 32-bit words in tables, 16 bytes in hex as Redis fields. */

import type { SaId } from '../../proto/gen/dpd/v1/types_pb.js';
import type { SpiWords } from '../../workers/base/spi.ts';

export { type SpiWords, wordsHex } from '../../workers/base/spi.ts';

/** An SPI pair as the API has it. */
export type SpiPair = Pick<SaId, 'initiatorSpi' | 'responderSpi'>;

export function spiWords({ initiatorSpi, responderSpi }: SpiPair): SpiWords {
  return [high(initiatorSpi), low(initiatorSpi), high(responderSpi), low(responderSpi)];
}

/** The pair from its words. */
export function spiPair([i0, i1, r0, r1]: SpiWords): { initiatorSpi: bigint; responderSpi: bigint } {
  return { initiatorSpi: (BigInt(i0) << 32n) | BigInt(i1), responderSpi: (BigInt(r0) << 32n) | BigInt(r1) };
}

/** The pair as 32 hex digits. */
export function spiHex({ initiatorSpi, responderSpi }: SpiPair): string {
  return hex64(initiatorSpi) + hex64(responderSpi);
}

/** The pair from its 32 hex digits. */
export function spiFromHex(hex: string): { initiatorSpi: bigint; responderSpi: bigint } {
  return { initiatorSpi: BigInt(`0x${hex.slice(0, 16)}`), responderSpi: BigInt(`0x${hex.slice(16)}`) };
}

/** Whether a text is a pair in 32 hex digits. */
export function isSpiHex(text: string): boolean {
  return SPI_HEX.test(text);
}
const SPI_HEX = /^[0-9a-f]{32}$/;

/** The words of a pair from its 32 hex digits in ASCII at `at`, which must be lower case. */
export function wordsFromHex(hex: Uint8Array, at: number): SpiWords {
  return [wordFromHex(hex, at), wordFromHex(hex, at + 8), wordFromHex(hex, at + 16), wordFromHex(hex, at + 24)];
}

function wordFromHex(hex: Uint8Array, at: number): number {
  let word = 0;
  for (let n = at; n < at + 8; n++) {
    const code = hex[n]!;
    word = (word << 4) | (code < LETTER_A ? code - DIGIT_0 : code - LETTER_A + 10);
  }
  return word >>> 0;
}
const DIGIT_0 = 48;
const LETTER_A = 97;

/** Shard of an SA: the low bits of its responder SPI, which the kernel's rules can match. */
export function shardOf(responderSpi: bigint, shards: number): number {
  return low(responderSpi) & (shards - 1);
}

function high(spi: bigint): number {
  return Number(spi >> 32n);
}

function low(spi: bigint): number {
  return Number(spi & 0xffffffffn);
}

function hex64(spi: bigint): string {
  return spi.toString(16).padStart(16, '0');
}
