import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type ConnectShardRequest, ConnectShardResponseSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { ShardUplink, type UplinkEvents, type UplinkStream } from '../../../services/agent/uplink.ts';
import { spiHex } from '../../../services/api/spi.ts';
import type { Clock } from '../../../services/base/clock.ts';
import { createLogger } from '../../../services/base/log.ts';

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
  welcome(history: string): void {
    this.tell({ case: 'welcome', value: { node: 'node-1', epoch: 1n, history } });
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
function rig() {
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
    connected: () => {},
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

test('each welcome says whether Redis may have lost what the node before was sent and never answered for', () => {
  const sa = create(SaSchema, {
    id: { initiatorSpi: 1n, responderSpi: 2n },
    revision: 1,
    keys: create(SaKeysSchema),
  });
  const spi = spiHex(sa.id!);
  const { uplink, lost, run, stream } = rig();
  stream().welcome('a');
  uplink.upsert(sa);
  run();
  assert.deepEqual(stream().sas, [spi]);
  const breakOff = (history: string) => {
    stream().emit('end');
    run();
    stream().welcome(history);
    run();
  };
  breakOff('a');
  assert.deepEqual({ lost, sent: stream().sas }, { lost: [], sent: [spi] });
  breakOff('b');
  assert.deepEqual({ lost, sent: stream().sas }, { lost: [spi], sent: [] });
});
