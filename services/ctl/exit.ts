/** Exit codes of `dpdctl`, and the errors behind them. docs/dpdctl.md lists them. */

import { type ServiceError, status } from '@grpc/grpc-js';

export const Exit = {
  DONE: 0,
  /** Something that should not happen. */
  FAILED: 1,
  /** Wrong usage, or a value that a node refuses. */
  USAGE: 2,
  /** No node, or not every node that was needed, could be reached in time. */
  UNREACHABLE: 3,
  /** No such peer, headend, node or letter. */
  NOT_FOUND: 4,
  /** The certificate does not allow it. */
  NOT_ALLOWED: 5,
  /** It was not confirmed, so nothing was done. */
  NOT_CONFIRMED: 6,
  /** `status`: the cluster needs someone. */
  ATTENTION: 7,
} as const;
export type Exit = (typeof Exit)[keyof typeof Exit];

/** An error for people: one line, and the exit code. */
export class CtlError extends Error {
  readonly exit: Exit;

  constructor(exit: Exit, message: string) {
    super(message);
    this.name = 'CtlError';
    this.exit = exit;
  }
}

const EXITS: Partial<Record<status, Exit>> = {
  [status.INVALID_ARGUMENT]: Exit.USAGE,
  [status.UNAVAILABLE]: Exit.UNREACHABLE,
  [status.DEADLINE_EXCEEDED]: Exit.UNREACHABLE,
  [status.NOT_FOUND]: Exit.NOT_FOUND,
  [status.PERMISSION_DENIED]: Exit.NOT_ALLOWED,
  [status.UNAUTHENTICATED]: Exit.NOT_ALLOWED,
};

/** Whether it is an error that a node, or the way to it, gave. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as Partial<ServiceError>).code === 'number' && 'details' in error;
}

/** An error of the API as one for people. @param where the node's address */
export function fromService({ code, details }: ServiceError, where: string): CtlError {
  const reason = details.replace(/ Resolution note: .*$/, '') || status[code];
  return new CtlError(EXITS[code] ?? Exit.FAILED, `${where}: ${reason}`);
}
