/** The settings of charon's connections that matter to the cluster, from vici's list-conns. */

import type { ViciClient } from './client.ts';
import type { ViciSection } from './codec.ts';

type Connection = { readonly name: string; readonly version: unknown; readonly delay: unknown };

/** One line for each setting that should be changed, with its effect. Throws ViciError. */
export async function readConcerns(vici: ViciClient): Promise<string[]> {
  const connections = await vici.list('list-conns', 'list-conn', readConnections);
  const named = (wanted: (connection: Connection) => boolean) => connections.filter(wanted).map(({ name }) => name);
  return [
    concern('dpd_delay is set: charon asks the spokes, too, which is double work', named(asksItself)),
    concern(
      'dpd_delay is set with IKEv1: charon asks such spokes itself, so they are not watched',
      named((connection) => connection.version === 'IKEv1' && asksItself(connection)),
    ),
  ].flatMap((line) => line ?? []);
}

function readConnections(message: ViciSection): Connection[] {
  return Object.entries(message as { [name: string]: ViciSection }).map(([name, { version, dpd_delay: delay }]) => ({
    name,
    version,
    delay,
  }));
}

function asksItself({ delay }: Connection): boolean {
  return delay !== undefined && delay !== '0';
}

/** Only a few names are listed. */
function concern(what: string, names: readonly string[]): string | undefined {
  const NAMED = 5;
  if (names.length === 0) return undefined;
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
  return `${what}: ${names.slice(0, NAMED).join(', ')}${more}`;
}
