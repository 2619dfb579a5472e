/**
 * Traffic evidence from the kernel's own SAs: which SAs had inbound or outbound packets since the last look. Inbound packets are counted
 * when they are authentic; for outbound packets it only matters whether there were some.
 */

import { Address } from '../../../../workers/base/address.ts';
import { XfrmSas } from '../xfrm/xfrm-sas.ts';
import type { SaRecord } from './sa-book.ts';

/** SPI pairs in hex. The packets came at an unknown time since the last look: they count as of now. */
export type KernelEvidence = { readonly heard: readonly string[]; readonly sent: readonly string[] };

type Packets = { readonly in: number; readonly out: number };
/** The part of {@link XfrmSas} that is used here. */
type Sas = Pick<XfrmSas, 'list' | 'find' | 'close'>;

export class KernelTraffic {
  readonly #open: () => Sas | undefined;
  #sas: Sas | undefined;
  /** Packets of each child at the last look, by its inbound SPI: in, and, if wanted, out. */
  #before: Map<number, Packets> | undefined;
  /** The hub's own addresses. */
  readonly #locals = new Map<string, Address>();

  constructor(open: () => Sas | undefined = XfrmSas.open) {
    this.#open = open;
    this.#sas = open();
  }

  /**
   * @param wantsSent whether outbound traffic matters for this SA
   * @returns undefined if the kernel does not have these SAs' children, or cannot be asked: charon has to be
   */
  look(records: Iterable<SaRecord>, wantsSent: (record: SaRecord) => boolean): KernelEvidence | undefined {
    const columns = this.#read();
    if (!columns) return undefined;
    const heard: string[] = [];
    const sent: string[] = [];
    const now = new Map<number, Packets>();
    let children = 0;
    for (const record of records) {
      const local = this.#localOf(record.local!.address);
      const remote = wantsSent(record) ? Address.of(record.remote!.address) : undefined;
      let wasHeard = false;
      let wasSent = false;
      for (const [inbound, outbound] of record.children) {
        children++;
        const row = this.#sas!.find(inbound, local);
        if (row < 0) continue;
        const out = remote === undefined ? -1 : this.#sas!.find(outbound, remote);
        const packets = { in: columns.packets[row]!, out: out < 0 ? 0 : columns.packets[out]! };
        // A child that was not there at the last look is new, and so are all of its packets.
        const before = this.#before && (this.#before.get(inbound) ?? NONE);
        wasHeard ||= before !== undefined && packets.in > before.in;
        wasSent ||= before !== undefined && packets.out > before.out;
        now.set(inbound, packets);
      }
      if (wasHeard) heard.push(record.spi);
      if (wasSent) sent.push(record.spi);
    }
    if (children > 0 && now.size === 0) return undefined;
    this.#before = now;
    return { heard, sent };
  }

  close(): void {
    this.#sas?.close();
  }

  #read() {
    const columns = this.#sas?.list();
    if (columns || !this.#sas) return columns;
    this.#sas.close();
    this.#sas = this.#open();
    return this.#sas?.list();
  }

  #localOf(address: string): Address {
    let local = this.#locals.get(address);
    if (!local) {
      local = Address.of(address);
      this.#locals.set(address, local);
    }
    return local;
  }
}
const NONE = { in: 0, out: 0 } as const;
