/** The node's API: every method of the three services, and the handler behind it. */

import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { HeadendService } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../../proto/gen/dpd/v1/verdicts_pb.js';
import type { TransportSettings } from '../../api/grpc/credentials.ts';
import { ApiError, toServiceError } from '../../api/grpc/errors.ts';
import { type RunningServer, startServer } from '../../api/grpc/server.ts';
import { serviceDefinition } from '../../api/grpc/service.ts';
import type { ApiContext, Caller, UnaryHandler } from './context.ts';
import { type ConnectShardCall, connectShard } from './headend/connect-shard.ts';
import { getClusterState } from './operator/get-cluster-state.ts';
import { getCounters } from './operator/get-counters.ts';
import { getPeer } from './operator/get-peer.ts';
import { listDeadLetters } from './operator/list-dead-letters.ts';
import { listHeldVerdicts } from './operator/list-held-verdicts.ts';
import { listLeftOut } from './operator/list-left-out.ts';
import { listPeers } from './operator/list-peers.ts';
import { setDraining } from './operator/set-draining.ts';
import { settleDeadLetters } from './operator/settle-dead-letters.ts';
import { settleHeldVerdicts } from './operator/settle-held-verdicts.ts';
import { acknowledgeVerdict } from './verdicts/acknowledge-verdict.ts';
import { VerdictWatches, type WatchCall } from './verdicts/watch-verdicts.ts';

/** Starts the API. Rejects if the address cannot be bound. */
export function serveApi(settings: TransportSettings, context: ApiContext): Promise<RunningServer> {
  const watches = new VerdictWatches(context);
  const answerError = (error: unknown) => {
    if (!(error instanceof ApiError)) context.log.error({ reason: (error as Error).message }, 'request failed');
    return toServiceError(error);
  };
  const unary =
    <Request, Response>(handle: UnaryHandler<Request, Response>) =>
    (call: ServerUnaryCall<Request, Response>, reply: sendUnaryData<Response>): void => {
      handle(context, callerOf(call), call.request).then(
        (response) => reply(null, response),
        (error) => reply(answerError(error)),
      );
    };
  return startServer(settings, (server) => {
    server.addService(serviceDefinition(HeadendService, [HeadendService.method.connectShard]), {
      connectShard: (call: ConnectShardCall) => {
        connectShard(context, callerOf(call), call).then(
          () => call.end(),
          (error) => call.emit('error', answerError(error)),
        );
      },
    });
    server.addService(serviceDefinition(VerdictService), {
      watchVerdicts: (call: WatchCall) => {
        watches.watch(callerOf(call), call).then(
          () => call.end(),
          (error) => call.emit('error', answerError(error)),
        );
      },
      acknowledgeVerdict: unary(acknowledgeVerdict),
    });
    server.addService(serviceDefinition(OperatorService), {
      getPeer: unary(getPeer),
      listPeers: unary(listPeers),
      getCounters: unary(getCounters),
      getClusterState: unary(getClusterState),
      setDraining: unary(setDraining),
      listHeldVerdicts: unary(listHeldVerdicts),
      listLeftOut: unary(listLeftOut),
      settleHeldVerdicts: unary(settleHeldVerdicts),
      listDeadLetters: unary(listDeadLetters),
      settleDeadLetters: unary(settleDeadLetters),
    });
  });
}

function callerOf(call: { getPeer(): string }): Caller {
  return { address: call.getPeer() };
}
