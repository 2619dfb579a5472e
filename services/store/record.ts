/** Reading what lies in Redis: whatever is there is looked at before it is used, and what is none of ours costs nothing else. */

import type { RecordError } from '../../workers/base/errors.ts';

/** Told of each record that was passed over. */
export type OnRefused = (error: RecordError) => void;

/** What a text says in JSON; undefined if it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
