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
function rig() {
  const work: (() => void)[] = [];
  const streams: Stream[] = [];
  const wanted: string[] = [];
  const applied: string[] = [];
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
    verdicts: (verdicts: readonly { id: string }[]) => applied.push(...verdicts.map(({ id }) => id)),
    connected: () => {},
    held: () => {},
    keysWanted: (spis: readonly string[]) => wanted.push(...spis),
  } as unknown as UplinkEvents;
  const open = () => {
    streams.push(new Stream());
    return streams.at(-1)! as unknown as UplinkStream;
  };
  const log = createLogger('test', 'silent');
  const uplink = new ShardUplink({ headend: 'hub', shard: 0, shards: 1, instance: '', takeOver: false }, events, {
    open,
    log,
    clock,
    random: () => 0,
  });
  const run = () => {
    for (let task = work.shift(); task; task = work.shift()) task();
  };
  run();
  return { uplink, wanted, applied, run, stream: () => streams.at(-1)! };
}

const keys = create(SaKeysSchema);
const sa = create(SaSchema, { id: { initiatorSpi: 1n, responderSpi: 2n }, revision: 1, keys });
const spi = spiHex(sa.id!);

test('what a node was sent and never answered for is sent again to the next that does not hold it', () => {
  const { uplink, run, stream } = rig();
  stream().welcome();
  uplink.upsert(sa, false);
  run();
  assert.deepEqual(stream().sas, [spi]);
  stream().emit('end');
  run();
  stream().welcome();
  run();
  assert.deepEqual(stream().sas, [spi]);
});

test('keys are asked for where the headend has none and the node neither, told before the node says so or after', () => {
  const keyless = create(SaSchema, { id: { initiatorSpi: 1n, responderSpi: 2n }, revision: 1 });
  for (const before of [true, false]) {
    const { uplink, wanted, run, stream } = rig();
    if (before) uplink.upsert(keyless, true);
    stream().welcome();
    if (!before) uplink.upsert(keyless, true);
    run();
    assert.deepEqual({ wanted, sent: stream().sas }, { wanted: [spi], sent: [] });
    uplink.upsert(sa, false);
    run();
    assert.deepEqual(stream().sas, [spi]);
  }
});

test('evidence is told with an age in whole ms, and one too old to be told is nobody’s', () => {
  const { uplink, run, stream } = rig();
  uplink.upsert(sa, false);
  stream().welcome();
  run();
  const batchId = stream().written.flatMap(({ message }) => (message.case === 'upsert' ? [message.value.batchId] : []));
  stream().tell({ case: 'batchDone', value: { batchId: batchId[0]!, handles: [7] } });
  for (const ageMs of [0, 3_073.4, 3_600_000, 3_600_001]) uplink.evidence([spi], [], ageMs);
  const told = stream().written.flatMap(({ message }) => (message.case === 'evidence' ? [message.value] : []));
  assert.deepEqual(
    told.map(({ heardHandles, ageMs }) => [heardHandles, ageMs]),
    [
      [[7], 0],
      [[7], 3_074],
      [[7], 3_600_000],
    ],
  );
});

test('a node that says what cannot be is left; verdicts of another shard, or of no SA, are not taken', () => {
  const { applied, run, stream } = rig();
  const first = stream();
  first.welcome();
  const id = { initiatorSpi: 1n, responderSpi: 2n };
  const verdicts = [
    { id: 'own', shard: 0, sa: id },
    { id: 'another', shard: 9, sa: id },
    { id: 'none', shard: 0 },
  ];
  first.tell({ case: 'verdicts', value: { verdicts } });
  assert.deepEqual(applied, ['own']);
  first.tell({ case: 'inventory', value: { initiatorSpis: [1n, 2n], responderSpis: [3n], complete: true } });
  run();
  assert.notEqual(stream(), first);
});
