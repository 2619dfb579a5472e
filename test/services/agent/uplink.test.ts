import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type ConnectShardRequest, ConnectShardResponseSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { type Sa, SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { ShardUplink, type UplinkEvents, type UplinkStream } from '../../../services/agent/uplink.ts';
import type { Clock } from '../../../services/clock.ts';
import { createLogger } from '../../../services/log.ts';
import { spiHex } from '../../../services/spi.ts';

const PATH = { canaryAddress: '', canaryPort: 0, guarded: true, ready: true, open: false };

/** The node's end of a stream. */
class Stream extends EventEmitter {
  readonly written: ConnectShardRequest[] = [];

  write(request: ConnectShardRequest): boolean {
    return this.written.push(request) > 0;
  }

  end(): void {}
  cancel(): void {}

  tell(message: MessageInitShape<typeof ConnectShardResponseSchema>['message'] & {}): void {
    this.emit('data', create(ConnectShardResponseSchema, { message }));
  }

  /** Welcomes the headend with a node that holds nothing. */
  welcome(): void {
    this.tell({ case: 'welcome', value: { node: 'node-1', epoch: 1n } });
    this.tell({ case: 'inventory', value: { complete: true } });
  }

  /** SPIs of the SAs that it was sent. */
  get sas(): string[] {
    return this.written.flatMap(({ message }) =>
      message.case === 'upsert' ? message.value.sas.map(({ id }) => spiHex(id!)) : [],
    );
  }
}

/** An uplink whose time and network the test owns. */
function rig(path: typeof PATH) {
  const work: (() => void)[] = [];
  const streams: Stream[] = [];
  const lost: string[] = [];
  const clock = {
    now: () => 0,
    after: (ms: number, task: () => void) => {
      // What waits for a stream that hangs does not come about here.
      if (ms < 30_000) work.push(task);
      return () => {};
    },
    every: () => () => {},
  } as unknown as Clock;
  const events = {
    choose: () => '127.0.0.1:1',
    failed: () => {},
    disconnected: () => {},
    connected: () => uplink.path(path),
    lost: (spis: readonly string[]) => lost.push(...spis),
  } as unknown as UplinkEvents;
  const open = () => {
    streams.push(new Stream());
    return streams.at(-1)! as unknown as UplinkStream;
  };
  const log = createLogger('test', 'silent');
  const uplink = new ShardUplink({ headend: 'hub', shard: 0, shards: 1 }, events, {
    open,
    log,
    clock,
    random: () => 0,
  });
  const run = () => {
    for (let task = work.shift(); task; task = work.shift()) task();
  };
  run();
  return { uplink, lost, run, stream: () => streams.at(-1)! };
}

/** Sends an SA to a node that never answers for it, and connects to one that does not know of it. */
function sendTwice(sa: Sa, path: typeof PATH) {
  const { uplink, lost, run, stream } = rig(path);
  stream().welcome();
  uplink.upsert(sa);
  run();
  assert.deepEqual(stream().sas, [spiHex(sa.id!)]);
  stream().emit('end');
  run();
  stream().welcome();
  run();
  return { lost, again: stream().sas };
}

test('an SA that may have been asked, though no node ever answered for it, is lost if the next one does not know of it', () => {
  const id = { initiatorSpi: 1n, responderSpi: 2n };
  const sa = (parked: boolean) => create(SaSchema, { id, revision: 1, parked, keys: create(SaKeysSchema) });
  const spi = spiHex(sa(false).id!);
  const open = { ...PATH, guarded: false, open: true };
  assert.deepEqual(sendTwice(sa(false), open), { lost: [spi], again: [] });
  assert.deepEqual(sendTwice(sa(true), PATH), { lost: [spi], again: [] });
  // Nobody asks it before it is parked, and it is parked once it is held.
  assert.deepEqual(sendTwice(sa(false), PATH), { lost: [], again: [spi] });
});
