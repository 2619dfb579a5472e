/** Who may call which method. A caller that is not named here may not. */

import { status } from '@grpc/grpc-js';
import type { HeadendService } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import type { VerdictService } from '../../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiError } from '../../api/grpc/errors.ts';
import type { Grants } from './grants.ts';

/** Every method of the API. */
export type Method =
  | keyof typeof HeadendService.method
  | keyof typeof VerdictService.method
  | keyof typeof OperatorService.method;

/** Whether a caller may. @param headend undefined: all of them */
type Rule = (who: Grants, headend: string | undefined) => boolean;

const speaksFor: Rule = ({ headends }, headend) => headend !== undefined && headends.has(headend);
const carriesOut: Rule = (who, headend) =>
  who.operator === 'act' || speaksFor(who, headend) || (headend !== undefined && who.watches.has(headend));
const sees: Rule = (who, headend) => who.operator !== 'none' || carriesOut(who, headend);
const reads: Rule = ({ operator }) => operator !== 'none';
const acts: Rule = ({ operator }) => operator === 'act';

const RULES: Readonly<Record<Method, Rule>> = {
  // Only the headend itself may, not even operators: this stream gives access to the SAs and their keys.
  connectShard: speaksFor,
  watchVerdicts: sees,
  acknowledgeVerdict: carriesOut,
  getPeer: sees,
  getPeerHistory: sees,
  watchPeer: sees,
  listPeers: sees,
  getCounters: sees,
  listHeldVerdicts: sees,
  listLeftOut: sees,
  listDeadLetters: sees,
  getClusterState: reads,
  setDraining: acts,
  clearSas: acts,
  settleHeldVerdicts: acts,
  settleDeadLetters: acts,
};

/** A caller, and what it may do. */
export type Who = {
  readonly name: string;
  readonly grants: Grants;
  /** On this host, in plaintext: the system says who may. */
  readonly local: boolean;
};

/** Throws PERMISSION_DENIED, which names what was asked and by whom. @param headend '' or undefined: all of them */
export function authorize(method: Method, { name, grants }: Who, headend: string | undefined): void {
  if (RULES[method](grants, headend || undefined)) return;
  const of = headend ? ` of headend "${headend}"` : '';
  throw new ApiError(status.PERMISSION_DENIED, `${method}${of} is not allowed to ${name}`);
}
