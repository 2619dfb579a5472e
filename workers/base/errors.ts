/** Errors that callers distinguish. Each has a code, which does not change with its text. */

export type ErrorCode =
  | 'SETTINGS'
  | 'VAULT'
  | 'FENCED'
  | 'RIVAL'
  | 'FORGOTTEN'
  | 'LOST_WRITES'
  | 'NOT_REPLICATED'
  | 'VERDICTS_TRIMMED'
  | 'THREAD_TIMEOUT'
  | 'HA_FORMAT'
  | 'VICI'
  | 'VICI_FORMAT'
  | 'STEERING'
  | 'RECORD';

/** An error of ours. */
abstract class DpdError extends Error {
  abstract readonly code: ErrorCode;
}

/** A setting that cannot be used. The message names it. */
export class SettingsError extends DpdError {
  override name = 'SettingsError';
  readonly code = 'SETTINGS';
}

/** A record that cannot be opened: another key, another SA, or damage. */
export class VaultError extends DpdError {
  override name = 'VaultError';
  readonly code = 'VAULT';
}

/** The shard has a newer owner: the node that gets this error must give the shard up. */
export class FencedError extends DpdError {
  override name = 'FencedError';
  readonly code = 'FENCED';
}

/** Another process speaks for the headend. */
export class RivalError extends DpdError {
  override name = 'RivalError';
  readonly code = 'RIVAL';
  /** Where the other is. */
  readonly address: string;

  constructor(address: string) {
    super(`another speaks for the headend, at ${address}`);
    this.address = address;
  }
}

/** Redis has forgotten the shard: its owner writes everything again. */
export class ForgottenError extends DpdError {
  override name = 'ForgottenError';
  readonly code = 'FORGOTTEN';
}

/** Redis answers, but does not know of a write that it had taken: it failed over, or was restarted from an old file. */
export class LostWritesError extends DpdError {
  override name = 'LostWritesError';
  readonly code = 'LOST_WRITES';
}

/** Fewer replicas than required have a write: it counts as not written yet. */
export class NotReplicatedError extends DpdError {
  override name = 'NotReplicatedError';
  readonly code = 'NOT_REPLICATED';
}

/** Verdicts between a token and what is kept were trimmed from the log. */
export class VerdictsTrimmedError extends DpdError {
  override name = 'VerdictsTrimmedError';
  readonly code = 'VERDICTS_TRIMMED';
}

/** The thread did not answer in time. */
export class ThreadTimeoutError extends DpdError {
  override name = 'ThreadTimeoutError';
  readonly code = 'THREAD_TIMEOUT';
}

/** A datagram that is no message of a version we know. */
export class HaFormatError extends DpdError {
  override name = 'HaFormatError';
  readonly code = 'HA_FORMAT';
}

/** charon refused a command, or is not there. */
export class ViciError extends DpdError {
  override name = 'ViciError';
  readonly code = 'VICI';
}

/** A packet that does not follow the format. */
export class ViciFormatError extends DpdError {
  override name = 'ViciFormatError';
  readonly code = 'VICI_FORMAT';
}

/** nft is not there, or refused. */
export class SteeringError extends DpdError {
  override name = 'SteeringError';
  readonly code = 'STEERING';
}

/** A value in Redis is not ours, or is damaged. The message begins with its key. */
export class RecordError extends DpdError {
  override name = 'RecordError';
  readonly code = 'RECORD';

  constructor(key: string, why: string) {
    super(`${key}: ${why}`);
  }
}
