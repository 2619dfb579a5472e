/** Who changed what: each action as a line of the log, and the latest of them in Redis. */

import { type DescMethod, type MessageShape, toJsonString } from '@bufbuild/protobuf';
import { ApiError } from '../../api/grpc/errors.ts';
import type { Logger } from '../../base/log.ts';
import { AUDIT } from '../../store/keys.ts';
import type { RedisClient } from '../../store/redis/redis.ts';
import type { Who } from './methods.ts';

/** Actions kept in Redis, about. */
const KEPT = 10_000;
/** Characters of a request that are noted. */
const MOST_TEXT = 1_000;

export class Audit {
  readonly #redis: RedisClient;
  readonly #node: string;
  readonly #log: Logger;

  /** @param node its name */
  constructor(redis: RedisClient, node: string, log: Logger) {
    this.#redis = redis;
    this.#node = node;
    this.#log = log;
  }

  /** Notes a request that changes something, with its outcome, when it has ended. Such requests contain no secrets. */
  note<M extends DescMethod>(
    method: M,
    { name: who, address: from }: Who & { readonly address: string },
    request: unknown,
    work: Promise<unknown>,
  ): void {
    const asked = toJsonString(method.input, request as MessageShape<M['input']>).slice(0, MOST_TEXT);
    const ended = (outcome: string) => this.#write({ action: method.localName, who, from, asked, outcome });
    work.then(
      () => ended('done'),
      (error: Error) => ended(error instanceof ApiError ? error.message : 'failed'),
    );
  }

  #write(entry: Readonly<Record<string, string>>): void {
    this.#log.info(entry, 'audit');
    const line = JSON.stringify({ ...entry, node: this.#node });
    // Without Redis the log has it.
    this.#redis.xadd(AUDIT, 'MAXLEN', '~', KEPT, '*', 'entry', line).catch(() => {});
  }
}
