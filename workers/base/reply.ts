/** What became of a datagram that came in. */
export const Reply = {
  /** Proof of life. */
  ALIVE: 0,
  MALFORMED: 1,
  UNKNOWN_SA: 2,
  /** Not authentic under the SA's keys. */
  FORGED: 3,
  /** Not an outstanding message id. */
  REPLAYED: 4,
  /** No answer to our probe, but a message for the headend's daemon or from it: it was handed on. */
  TAKEN: 5,
} as const;
export type Reply = (typeof Reply)[keyof typeof Reply];
