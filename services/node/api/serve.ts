/** The node's API: every method of the three services, and the handler behind it. */

import type { DescMethod } from '@bufbuild/protobuf';
import type { Server, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { HeadendService } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiError, toServiceError } from '../../api/grpc/errors.ts';
import { type RunningServer, startServer } from '../../api/grpc/server.ts';
import { serviceDefinition } from '../../api/grpc/service.ts';
import type { TlsFiles } from '../../api/grpc/tls-files.ts';
import type { Admission } from '../access/admission.ts';
import { authorize, type Method } from '../access/methods.ts';
import type { ApiContext, Caller, UnaryHandler } from './context.ts';
import { type ConnectShardCall, connectShard } from './headend/connect-shard.ts';
import { getClusterState } from './operator/get-cluster-state.ts';
import { getCounters } from './operator/get-counters.ts';
import { listDeadLetters } from './operator/list-dead-letters.ts';
import { listHeldVerdicts } from './operator/list-held-verdicts.ts';
import { listLeftOut } from './operator/list-left-out.ts';
import { setDraining } from './operator/set-draining.ts';
import { settleDeadLetters } from './operator/settle-dead-letters.ts';
import { settleHeldVerdicts } from './operator/settle-held-verdicts.ts';
import { clearSas } from './peers/clear-sas.ts';
import { getPeer } from './peers/get-peer.ts';
import { getPeerHistory } from './peers/get-peer-history.ts';
import { listPeers } from './peers/list-peers.ts';
import { PeerWatches, type WatchPeerCall } from './peers/watch-peer.ts';
import { acknowledgeVerdict } from './verdicts/acknowledge-verdict.ts';
import { VerdictWatches, type WatchCall } from './verdicts/watch-verdicts.ts';

/** Methods that change something, and so are noted. */
const ACTIONS: ReadonlySet<Method> = new Set(['setDraining', 'settleHeldVerdicts', 'settleDeadLetters', 'clearSas']);

/**
 * Starts the API. Rejects if the address cannot be bound.
 * @param tls undefined: plaintext
 */
export function serveApi(
  address: string,
  tls: TlsFiles | undefined,
  admission: Admission,
  context: ApiContext,
): Promise<RunningServer> {
  const { access, audit, log } = context;
  const watches = new VerdictWatches(context);
  const peerWatches = new PeerWatches(context);
  const callerOf = (
    call: ServerUnaryCall<unknown, unknown> | ConnectShardCall | WatchCall | WatchPeerCall,
  ): Caller => ({
    ...access.of(call),
    address: call.getPeer(),
  });
  const answerError = (error: unknown) => {
    if (!(error instanceof ApiError)) log.error({ reason: (error as Error).message }, 'request failed');
    return toServiceError(error);
  };
  const unary = <Request, Response>(method: DescMethod, handle: UnaryHandler<Request, Response>) => {
    const name = method.localName as Method;
    return (call: ServerUnaryCall<Request, Response>, reply: sendUnaryData<Response>): void => {
      const caller = callerOf(call);
      const work = (async () => {
        authorize(name, caller, (call.request as { headend?: string }).headend);
        return await handle(context, caller, call.request);
      })();
      if (ACTIONS.has(name)) audit.note(method, caller, call.request, work);
      work.then(
        (response) => reply(null, response),
        (error) => reply(answerError(error)),
      );
    };
  };
  const register = (server: Server) => {
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
      acknowledgeVerdict: unary(VerdictService.method.acknowledgeVerdict, acknowledgeVerdict),
    });
    server.addService(serviceDefinition(OperatorService), {
      getPeer: unary(OperatorService.method.getPeer, getPeer),
      listPeers: unary(OperatorService.method.listPeers, listPeers),
      getCounters: unary(OperatorService.method.getCounters, getCounters),
      getClusterState: unary(OperatorService.method.getClusterState, getClusterState),
      setDraining: unary(OperatorService.method.setDraining, setDraining),
      listHeldVerdicts: unary(OperatorService.method.listHeldVerdicts, listHeldVerdicts),
      listLeftOut: unary(OperatorService.method.listLeftOut, listLeftOut),
      settleHeldVerdicts: unary(OperatorService.method.settleHeldVerdicts, settleHeldVerdicts),
      listDeadLetters: unary(OperatorService.method.listDeadLetters, listDeadLetters),
      settleDeadLetters: unary(OperatorService.method.settleDeadLetters, settleDeadLetters),
      getPeerHistory: unary(OperatorService.method.getPeerHistory, getPeerHistory),
      clearSas: unary(OperatorService.method.clearSas, clearSas),
      watchPeer: (call: WatchPeerCall) => {
        peerWatches.watch(callerOf(call), call).then(
          () => call.end(),
          (error) => call.emit('error', answerError(error)),
        );
      },
    });
  };
  return startServer(address, tls, admission.interceptor, register, (failure) => {
    if (failure) {
      log.error({ reason: failure.message }, 'certificates not read: those read before hold');
      return;
    }
    log.info('certificates read again');
    admission.revoke(tls!.revocations);
  });
}
