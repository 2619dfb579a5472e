/** What every program that has keys in memory lets the system do with that memory. */

import { flag } from '../settings.ts';

export const CORE_DUMPS = {
  coreDumps: {
    env: 'DPD_CORE_DUMPS',
    help: 'allow core dumps, and debuggers of the same user: the keys in memory are in them',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;
