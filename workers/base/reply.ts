/** What became of a datagram that came in. */
export const Reply = {
  /** Proof of life. */
  ALIVE: 0,
  MALFORMED: 1,
  UNKNOWN_SA: 2,
  /** Not authentic under the SA's keys. */
  FORGED: 3,
  /** Not an id that is asked for now. */
  REPLAYED: 4,
  /** No answer to a question of ours, but somebody's: it went on to them. */
  TAKEN: 5,
} as const;
export type Reply = (typeof Reply)[keyof typeof Reply];
