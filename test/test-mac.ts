import { RecordMac } from '../services/store/record-mac.ts';

/** What the records of one test cluster are made with, and what those of another. */
export const TEST_MAC = new RecordMac([Buffer.alloc(32, 7)]);
export const FOREIGN_MAC = new RecordMac([Buffer.alloc(32, 8)]);
