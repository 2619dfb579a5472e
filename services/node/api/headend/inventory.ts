/** The inventory of a shard for its headend, written directly into columns, because a takeover waits until all of it is sent. */

import { ConnectShardResponseSchema, InventorySchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { fieldNumbers } from '../../../../workers/sa/message-reader.ts';
import type { Inventoried } from '../../../../workers/shard/protocol.ts';
import { WireWriter } from '../../../api/grpc/wire.ts';
import type { ShardRecords } from '../../records/records.ts';

const INVENTORY = fieldNumbers(InventorySchema);

/**
 * A ConnectShardResponse with the inventory of some SAs.
 * @param known of each SA: its next message id, NO_MID if its keys are not held; and positions of the SAs that are not
 * parked
 * @param complete no other follows
 */
export function encodeInventory(
  records: ShardRecords,
  handles: readonly number[],
  { nextMids, unparked }: Inventoried,
  complete: boolean,
): Buffer {
  const columns = {
    initiatorSpis: Buffer.alloc(8 * handles.length),
    responderSpis: Buffer.alloc(8 * handles.length),
    handles: Buffer.alloc(4 * handles.length),
    revisions: Buffer.alloc(4 * handles.length),
    nextMessageIds: Buffer.alloc(4 * handles.length),
    unparked: Buffer.alloc(4 * unparked.length),
  };
  unparked.forEach((position, n) => {
    columns.unparked.writeUInt32LE(position, 4 * n);
  });
  handles.forEach((handle, n) => {
    const [i0, i1, r0, r1] = records.words(handle);
    // A packed fixed64 is little-endian, its low word first.
    columns.initiatorSpis.writeUInt32LE(i1, 8 * n);
    columns.initiatorSpis.writeUInt32LE(i0, 8 * n + 4);
    columns.responderSpis.writeUInt32LE(r1, 8 * n);
    columns.responderSpis.writeUInt32LE(r0, 8 * n + 4);
    columns.handles.writeUInt32LE(handle, 4 * n);
    columns.revisions.writeUInt32LE(records.revision(handle), 4 * n);
    columns.nextMessageIds.writeUInt32LE(nextMids[n]!, 4 * n);
  });
  const inventory = new WireWriter();
  for (const [name, column] of Object.entries(columns))
    inventory.bytes(INVENTORY[name as keyof typeof columns], column);
  if (complete) inventory.uint(INVENTORY.complete, 1);
  const response = new WireWriter();
  inventory.finishInto(ConnectShardResponseSchema.field.inventory.number, response);
  return response.finish();
}
