// A headend's stream as k6 speaks it: one shard, SAs without keys, whose probes it answers itself.

import grpc from 'k6/net/grpc';

export const ADDRESS = __ENV.DPD_ADDRESS || '127.0.0.1:7600';

/** A client for all services. Call in the init context. */
export function makeClient() {
  const client = new grpc.Client();
  client.load(['../../proto'], 'dpd/v1/headend.proto', 'dpd/v1/verdicts.proto', 'dpd/v1/operator.proto');
  return client;
}

export function connect(client) {
  client.connect(ADDRESS, { plaintext: true, timeout: '10s' });
}

/** An SA of a headend; SPIs must differ within it only. */
export function makeSa(number, policy, revision = 1) {
  return {
    id: { initiatorSpi: String(number + 1), responderSpi: String(1_000_000 + number) },
    peerId: `spoke-${number}`,
    ikeVersion: 2,
    endpoints: [{ address: `127.${1 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`, port: 4500 }],
    policy,
    revision,
  };
}

/** Opens the only shard of a headend. `on` has a function for each kind of message; `ready` once the shard is loaded. */
export function openShard(client, headend, on) {
  const stream = new grpc.Stream(client, 'dpd.v1.HeadendService/ConnectShard');
  stream.on('data', (message) => {
    for (const kind of Object.keys(message)) if (on[kind]) on[kind](message[kind]);
    if (message.batchRefused) on.failed?.(new Error('a batch was refused: Redis did not take it'));
    if (message.inventory?.complete && on.ready) on.ready();
  });
  stream.on('error', (error) => on.failed?.(error));
  stream.on('end', () => on.ended?.());
  stream.write({ hello: { headend, shard: 0, shards: 1 } });
  return stream;
}
