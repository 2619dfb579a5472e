/** A headend's stream that sends messages encoded beforehand, so that the sender costs next to nothing. */

import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import {
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  ConnectShardResponseSchema,
  HeadendService,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import { methodDefinition } from '../../services/api/grpc/service.ts';

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

type Request = Exclude<MessageInitShape<typeof ConnectShardRequestSchema>['message'], undefined>;

export function encodeRequest(message: Request): Uint8Array {
  return toBinary(ConnectShardRequestSchema, create(ConnectShardRequestSchema, { message }));
}

export class RawStream {
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Uint8Array, Buffer>;
  #hear: ((message: ConnectShardResponse['message']) => void) | undefined;
  #failed: Error | undefined;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.use_local_subchannel_pool': 1,
    });
    this.#call = this.#client.makeBidiStreamRequest(
      methodDefinition(HeadendService.method.connectShard).path,
      (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      (bytes: Buffer) => bytes,
    );
    this.#call.on('data', (bytes: Buffer) => this.#hear?.(fromBinary(ConnectShardResponseSchema, bytes).message));
    this.#call.on('error', (error: Error) => {
      this.#failed = error;
    });
  }

  /** Called with every message of the node; while nobody is, they are not decoded. */
  onMessage(hear: ((message: ConnectShardResponse['message']) => void) | undefined): void {
    this.#hear = hear;
  }

  /** Called with the error that ends the stream. */
  onFailure(failed: (error: Error) => void): void {
    this.#call.on('error', failed);
  }

  /** Sends a message that is encoded only now. */
  tell(message: Request): void {
    this.send(encodeRequest(message));
  }

  send(bytes: Uint8Array): void {
    if (this.#failed) throw this.#failed;
    this.#call.write(bytes);
  }

  close(): void {
    this.#call.end();
    this.#client.close();
  }
}
