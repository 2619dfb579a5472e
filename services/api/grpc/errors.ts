/** Errors of the API: a gRPC status, with google.rpc.BadRequest if fields are invalid. */

import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { BadRequestSchema, StatusSchema } from '../../../proto/gen/google/rpc/error_details_pb.js';

/** One field that breaks its limit. */
export type Violation = {
  /** Path of the field, as in the proto. */
  readonly field: string;
  /** The value received and the limit. */
  readonly description: string;
};

/** An error with a gRPC status code. The message may be shown to callers. */
export class ApiError extends Error {
  readonly code: status;
  readonly violations: readonly Violation[];

  constructor(code: status, message: string, violations: readonly Violation[] = []) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.violations = violations;
  }
}

/** Throws INVALID_ARGUMENT naming every violation, if there are any. */
export function rejectIfInvalid(violations: readonly Violation[]): void {
  if (violations.length === 0) return;
  const [first] = violations;
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : '';
  throw new ApiError(status.INVALID_ARGUMENT, `${first!.field}: ${first!.description}${more}`, violations);
}

/** What grpc-js sends for an error. An error that is not ours becomes INTERNAL, its text kept from the caller. */
export function toServiceError(error: unknown): Pick<ServiceError, 'code' | 'details' | 'metadata'> {
  const metadata = new Metadata();
  if (!(error instanceof ApiError)) return { code: status.INTERNAL, details: 'internal error', metadata };
  if (error.violations.length > 0) {
    const badRequest = create(BadRequestSchema, { fieldViolations: error.violations.map((v) => ({ ...v })) });
    const details = create(StatusSchema, {
      code: error.code,
      message: error.message,
      details: [anyPack(BadRequestSchema, badRequest)],
    });
    metadata.set('grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, details)));
  }
  return { code: error.code, details: error.message, metadata };
}
