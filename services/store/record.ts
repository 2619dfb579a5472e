/** Reads records in Redis: each is checked before it is used, and a foreign record harms no other. */

import type { RecordError } from '../../workers/base/errors.ts';

/** Called for each record that was skipped. */
export type OnRefused = (error: RecordError) => void;

/** The JSON value of a text; undefined if the text is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
