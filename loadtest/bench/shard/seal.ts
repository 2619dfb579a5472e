/**
 * Sealing and opening the SK payload of a liveness check, suite by suite. Beside it the bare cipher of Node: AES-256-GCM,
 * one block each way, with nothing around it.
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { open, seal, sealedLength } from '../../../workers/ikev2/sk-payload.ts';
import { SUITES, type Suite } from '../../../workers/ikev2/suites.ts';
import { suiteNamed } from '../../spokes/fleet.ts';
import { cpuNanosPerOperation, type Result, round } from '../measure.ts';

const BATCH = 10_000;

export async function sealing(): Promise<Result> {
  const figures = Object.fromEntries(
    SUITES.flatMap((suite) => {
      const { sealMicros, openMicros } = cost(suite);
      const name = nameOf(suite);
      return [
        [`${name}_seal_us`, sealMicros],
        [`${name}_open_us`, openMicros],
      ];
    }),
  );
  const gcm = nameOf(SUITES[suiteNamed('aes-256-gcm')]!);
  const baseline = bareMicros();
  const both = figures[`${gcm}_seal_us`]! + figures[`${gcm}_open_us`]!;
  return { ...figures, baseline, ratio: round(both / baseline) };
}

/** One message each way, us. */
function cost(suite: Suite): { sealMicros: number; openMicros: number } {
  const keys = {
    encryption: randomBytes(suite.keyLength),
    salt: randomBytes(suite.saltLength),
    integrity: randomBytes(suite.integrityKeyLength),
  };
  const message = randomBytes(sealedLength(suite));
  const sealMicros = cpuMicros(() => seal(suite, keys, message));
  const openMicros = cpuMicros(() => {
    if (!open(suite, keys, message)) throw new Error(`${nameOf(suite)}: not opened`);
  });
  return { sealMicros, openMicros };
}

function bareMicros(): number {
  const [key, nonce, header, plain] = [randomBytes(32), randomBytes(12), Buffer.alloc(32), Buffer.of(0)];
  const options = { authTagLength: 16 };
  let sealed = plain;
  let tag = plain;
  return cpuMicros(() => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce, options).setAAD(header);
    sealed = cipher.update(plain);
    cipher.final();
    tag = cipher.getAuthTag();
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, options).setAAD(header).setAuthTag(tag);
    decipher.update(sealed);
    decipher.final();
  });
}

function cpuMicros(run: () => void): number {
  const ns = cpuNanosPerOperation(BATCH, () => {
    for (let n = 0; n < BATCH; n++) run();
  });
  return round(ns / 1_000);
}

function nameOf({ cipher, hash, icvLength }: Suite): string {
  return `${cipher}${hash ? `_${hash}` : ''}_${icvLength}`.replaceAll('-', '_');
}
