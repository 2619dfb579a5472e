import type { OnRefused } from '../services/store/record.ts';

/** Where only the product has written to Redis. */
export const NOTHING_REFUSED: OnRefused = (error) => {
  throw error;
};
