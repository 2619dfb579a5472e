/** Traffic evidence from vici's counters: which SAs had inbound or outbound packets since the last look. */

import type { ListedSa } from './vici/sas.ts';

/** Evidence of one age, SPI pairs in hex. */
export type EvidenceGroup = { readonly ageMs: number; readonly heard: string[]; readonly sent: string[] };

export class TrafficWatch {
  /** Packets in and out of each child SA at the last look. */
  #seen = new Map<number, { packetsIn: number; packetsOut: number }>();

  /** Compares the list with the one before. Only counters that grew are evidence: they count authenticated packets. */
  look(sas: readonly ListedSa[]): EvidenceGroup[] {
    const groups = new Map<number, EvidenceGroup>();
    const group = (use: number) => {
      // A difference of whole seconds is up to one more than the time that passed. Taken as the age, it would put the
      // evidence before the packet, and a verdict before its time: the peer gets the benefit of the doubt.
      const ageMs = Math.max(0, use - 1) * 1_000;
      let found = groups.get(ageMs);
      if (!found) {
        found = { ageMs, heard: [], sent: [] };
        groups.set(ageMs, found);
      }
      return found;
    };
    const seen = new Map<number, { packetsIn: number; packetsOut: number }>();
    for (const { spi, children } of sas)
      for (const child of children) {
        const before = this.#seen.get(child.inboundSpi) ?? { packetsIn: 0, packetsOut: 0 };
        seen.set(child.inboundSpi, child);
        if (child.packetsIn > before.packetsIn && child.useIn !== undefined) group(child.useIn).heard.push(spi);
        if (child.packetsOut > before.packetsOut && child.useOut !== undefined) group(child.useOut).sent.push(spi);
      }
    this.#seen = seen;
    return [...groups.values()];
  }
}
