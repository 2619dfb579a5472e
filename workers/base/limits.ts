/**
 * Longest message built or opened, bytes, marker included: a request of a headend's daemon may carry the public value of a large group.
 * The daemon sends longer messages in fragments (RFC 7383).
 */
export const MAX_MESSAGE_LENGTH = 2_048;
