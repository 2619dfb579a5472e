/** Clients of the cluster's API: protobuf-es messages over one grpc-js channel. */

import { create, type DescMethod, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { clientCredentials, type TransportSettings } from './credentials.ts';
import { methodDefinition } from './service.ts';

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

export class ApiClient {
  readonly #client: Client;

  /** Connects lazily. Throws SettingsError on credentials that cannot be used. */
  constructor(settings: TransportSettings) {
    const { credentials, options } = clientCredentials(settings);
    this.#client = new Client(settings.address, credentials, {
      ...options,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
    });
  }

  /** One request, one response. Rejects with grpc-js's ServiceError. */
  unary<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
    deadlineMs = 10_000,
  ): Promise<MessageShape<M['output']>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        create(method.input, request) as MessageShape<M['input']>,
        { deadline: Date.now() + deadlineMs },
        (error: ServiceError | null, response?: MessageShape<M['output']>) =>
          error ? reject(error) : resolve(response!),
      );
    });
  }

  /** A stream of responses. */
  watch<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
  ): ClientReadableStream<MessageShape<M['output']>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request) as MessageShape<M['input']>,
    );
  }

  /** Streams both ways. */
  duplex<M extends DescMethod>(
    method: M,
    metadata?: Metadata,
  ): ClientDuplexStream<MessageShape<M['input']>, MessageShape<M['output']>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return metadata
      ? this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata)
      : this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  }

  close(): void {
    this.#client.close();
  }
}
