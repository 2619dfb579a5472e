/** What can be said to `npm run bench -- hub`. */

import { SettingsError } from '../../../workers/base/errors.ts';

export type HubOptions = {
  /** IKE SAs, a spoke each. */
  readonly sas: number;
  /** Of the spokes, those that die at once after the minute. */
  readonly kill: number;
  /** IKE SAs that spokes rekey per second during the minute. */
  readonly rekey: number;
  /** Minutes that the cluster watches while spokes rekey, having taken the hub over while SAs came up; 0: the cost is measured. */
  readonly soak: number;
};

/** Flags, and how they are shown. */
export const HUB_FLAGS = {
  sas: { type: 'string' },
  kill: { type: 'string' },
  rekey: { type: 'string' },
  soak: { type: 'string' },
} as const;
export const HUB_HELP =
  'hub: [--sas 2000] [--kill 100] [--rekey 0, IKE SAs per second] [--soak 0, minutes], needs root and strongSwan';

/** Throws SettingsError. */
export function readHubOptions(flags: { readonly [flag in keyof typeof HUB_FLAGS]?: string | undefined }): HubOptions {
  const sas = whole('sas', flags.sas ?? '2000', 2, 50_000);
  return {
    sas,
    kill: whole('kill', flags.kill ?? String(Math.min(100, sas >> 2)), 0, sas - 1),
    rekey: whole('rekey', flags.rekey ?? '0', 0, 1_000),
    soak: whole('soak', flags.soak ?? '0', 0, 10_000),
  };
}

function whole(flag: string, text: string, min: number, max: number): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < min || number > max)
    throw new SettingsError(`--${flag}=${text}: must be a whole number from ${min} to ${max}`);
  return number;
}
