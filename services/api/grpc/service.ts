/** Joins protobuf-es service descriptors to grpc-js. */

import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

/** grpc-js method definition of one protobuf-es method. A response may be given encoded already. */
export function methodDefinition<M extends DescMethod>(
  method: M,
): MethodDefinition<MessageShape<M['input']>, MessageShape<M['output']>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes) as MessageShape<M['input']>,
    responseSerialize: (message) => encode(method.output, message),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
  };
}

/**
 * grpc-js service definition, methods by their lower-camel name.
 * @param raw methods whose requests are handed on as they arrive
 */
export function serviceDefinition(service: DescService, raw: readonly DescMethod[] = []): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [
      method.localName,
      { ...methodDefinition(method), ...(raw.includes(method) && { requestDeserialize: (bytes: Buffer) => bytes }) },
    ]),
  );
}

function encode<T extends DescMessage>(type: T, message: MessageShape<T> | Uint8Array): Buffer {
  if (Buffer.isBuffer(message)) return message;
  return Buffer.from(toBinary(type, message as MessageShape<T>));
}
