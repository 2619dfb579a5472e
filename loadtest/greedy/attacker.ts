/** One headend's certificate, used as badly as can be: streams, calls, watches and requests as many and as fast as they go. */

import { create } from '@bufbuild/protobuf';
import { ConnectShardRequestSchema, HeadendService } from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import type { TransportSettings } from '../../services/api/grpc/credentials.ts';

const HEADEND = 'greedy';
const SHARDS = 8;
/** Streams beyond what a holder may have. */
const STREAMS = 600;
const CALLS = 100;
const WATCHES = 100;
/** Messages that wait in a stream: the next are written when there are fewer. */
const WAITING = 64;

const client = new ApiClient(JSON.parse(process.argv[2]!) as TransportSettings);
const sent = { messages: 0, calls: 0, refused: 0 };
const encode = (message: Parameters<typeof create<typeof ConnectShardRequestSchema>>[1]) =>
  create(ConnectShardRequestSchema, message) as never;

/** A stream of a shard that asks for its inventory for ever. */
function reconcile(shard: number): void {
  const stream = client.duplex(HeadendService.method.connectShard);
  stream.on('data', () => {});
  const next = () => {
    while (stream.writableLength < WAITING) {
      stream.write(encode({ message: { case: 'reconcile', value: { count: 1, hash: 1n } } }));
      sent.messages++;
    }
    timer = setTimeout(next, 1);
  };
  let timer = setTimeout(next, 1);
  stream.on('error', () => {
    clearTimeout(timer);
    sent.refused++;
    setTimeout(() => reconcile(shard), 50);
  });
  stream.write(encode({ message: { case: 'hello', value: { headend: HEADEND, shard, shards: SHARDS } } }));
}

/** A stream, or a watch, that is opened again as soon as it ends. */
function open(kind: 'stream' | 'watch'): void {
  const call =
    kind === 'stream'
      ? client.duplex(HeadendService.method.connectShard)
      : client.watch(VerdictService.method.watchVerdicts, { headend: HEADEND });
  call.on('data', () => {});
  call.on('error', () => {
    sent.refused++;
    setTimeout(() => open(kind), 50);
  });
}

async function call(): Promise<void> {
  for (;;) {
    await client.unary(OperatorService.method.listPeers, { headend: HEADEND }).catch(() => sent.refused++);
    sent.calls++;
  }
}

for (let shard = 0; shard < SHARDS; shard++) reconcile(shard);
for (let n = 0; n < STREAMS; n++) open('stream');
for (let n = 0; n < WATCHES; n++) open('watch');
for (let n = 0; n < CALLS; n++) void call();
process.on('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(sent)}\n`);
  process.exit(0);
});
