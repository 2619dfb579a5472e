/** OpenSSL called directly where that can be done, else Node's own ciphers. */

import type { Aead, AeadShape } from './aead.ts';
import { evpAead } from './evp.ts';
import { nodeAead } from './node-aead.ts';

/** The fastest way there is here to seal and open messages of this shape. */
export function fastestAead(shape: AeadShape): Aead {
  return evpAead(shape) ?? nodeAead(shape);
}
