/** What is told of a peer that someone looks at. */

/** Events of a peer, and what the value with each means. */
export const Traced = {
  /** A probe was sent: which of the suspicion, from 1; 0 outside a suspicion. */
  ASKED: 1,
  /** An answer came: ms since the latest probe. */
  ANSWERED: 2,
  /** No probe was due: ms since the peer was heard. */
  SUPPRESSED: 3,
  /** A probe may not leave: probes of the suspicion so far. */
  BLOCKED: 4,
  /** Time was given back, ms. */
  BLIND: 5,
  /** Silent, but never proven: probes of the suspicion. */
  UNPROVEN: 6,
} as const;
export type Traced = (typeof Traced)[keyof typeof Traced];
