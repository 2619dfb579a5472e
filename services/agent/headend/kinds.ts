/** The kinds of headends that an agent supports, each with its own settings. */

import type { Logger } from '../../base/log.ts';
import type { SettingsOf, SettingsTable } from '../../base/settings.ts';
import type { Headend } from './headend.ts';
import { STRONGSWAN_SETTINGS, toStrongSwanSettings } from './strongswan/settings.ts';
import { StrongSwanHeadend } from './strongswan/strongswan.ts';

/** How a headend of one kind is made. */
export type HeadendKind<Table extends SettingsTable = SettingsTable> = {
  readonly settings: Table;
  /** @param raw its settings, as they were read. Throws SettingsError if they cannot be used */
  create(raw: SettingsOf<Table>, shards: number, log: Logger): Headend;
};

const kind = <Table extends SettingsTable>(of: HeadendKind<Table>) => of as unknown as HeadendKind;

export const HEADENDS = {
  strongswan: kind({
    settings: STRONGSWAN_SETTINGS,
    create: (raw, shards, log) => new StrongSwanHeadend(toStrongSwanSettings(raw, shards), log),
  }),
} as const satisfies Record<string, HeadendKind>;

export type HeadendKindName = keyof typeof HEADENDS;
export const HEADEND_KINDS = Object.keys(HEADENDS) as HeadendKindName[];
