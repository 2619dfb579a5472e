/** The hub's end of an SA: its address and IKE port, and its name in the rules. */

import { NAT_T_PORT } from '../../../../workers/ikev2/header.ts';

export type HubEnd = { readonly address: string; readonly port: number };

/** The address, and the port unless that is 4500. */
export function endName({ address, port }: HubEnd): string {
  return port === NAT_T_PORT ? address : `${address} ${port}`;
}

export function parseEnd(name: string): HubEnd {
  const [address = '', port] = name.split(' ');
  return { address, port: port === undefined ? NAT_T_PORT : Number(port) };
}
