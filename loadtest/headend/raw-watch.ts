/** A watch that reads only the age of each verdict, so that the watcher costs next to nothing. */

import { create } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { Client, credentials } from '@grpc/grpc-js';
import { VerdictHistorySchema, VerdictSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import {
  VerdictService,
  WatchVerdictsRequestSchema,
  WatchVerdictsResponseSchema,
} from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { methodDefinition } from '../../services/api/grpc/service.ts';
import { MessageReader } from '../../workers/sa/message-reader.ts';

const VERDICTS = WatchVerdictsResponseSchema.field.verdicts.number;
const HISTORY = VerdictSchema.field.history.number;
const EARLIEST = VerdictHistorySchema.field.earliestUnixMs.number;

/**
 * Watches a headend's verdicts from now on.
 * @param hear told of each the moment from which it could have been given, Unix ms
 * @returns what ends the watch
 */
export function watchEarliest(
  address: string,
  headend: string,
  hear: (earliestUnixMs: number) => void,
  failed: (error: Error) => void,
): () => void {
  const client = new Client(address, credentials.createInsecure());
  const { path, requestSerialize } = methodDefinition(VerdictService.method.watchVerdicts);
  const call = client.makeServerStreamRequest(
    path,
    requestSerialize,
    (response: Buffer) => response,
    create(WatchVerdictsRequestSchema, { headend, resumeToken: 'now' }),
  );
  call.on('data', (response: Buffer) => {
    const reader = new MessageReader(response);
    inField(reader, reader.len, VERDICTS, (end) =>
      inField(reader, end, HISTORY, (historyEnd) =>
        inField(reader, historyEnd, EARLIEST, () => hear(Number(reader.uint64()))),
      ),
    );
  });
  call.on('error', failed);
  return () => {
    call.off('error', failed);
    call.on('error', () => {});
    call.cancel();
    client.close();
  };
}

/** Reads up to `end`: visits each value of a field, all others are skipped. */
function inField(reader: MessageReader, end: number, field: number, visit: (end: number) => void): void {
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 !== field) reader.skipField(tag);
    else if ((tag & 7) === WireType.LengthDelimited) visit(reader.partEnd());
    else visit(reader.pos);
  }
}
