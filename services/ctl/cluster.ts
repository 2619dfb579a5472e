/** The cluster as `dpdctl` sees it: one node is enough to find the others, and each is asked for what only it knows. */

import type { DescMethod, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { ClientReadableStream } from '@grpc/grpc-js';
import pLimit from 'p-limit';
import { type GetClusterStateResponse, OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import type { Member } from '../../proto/gen/dpd/v1/types_pb.js';
import { ApiClient } from '../api/grpc/client.ts';
import { CtlError, Exit, fromService, isServiceError } from './exit.ts';
import type { Connection } from './settings.ts';

/** A node that can be asked. */
export type Node = {
  readonly id: string;
  readonly address: string;
  readonly ask: <M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
  ) => Promise<MessageShape<M['output']>>;
  readonly watch: <M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
  ) => ClientReadableStream<MessageShape<M['output']>>;
};

/** Calls under way at the same time: a node lets one caller have 64. */
const AT_ONCE = 16;

export class Cluster {
  readonly #calls = pLimit(AT_ONCE);
  readonly #connection: Connection;
  readonly #clients = new Map<string, ApiClient>();
  /** Nodes that did not answer, and why: what is shown is incomplete. */
  readonly unreached = new Map<string, string>();
  /** Address of the node that was reached first. */
  #entry: string | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** What the first node that answers knows of the cluster. Throws CtlError. */
  async state(): Promise<GetClusterStateResponse> {
    const { addresses } = this.#connection;
    const failures: string[] = [];
    for (const address of this.#entry === undefined ? addresses : [this.#entry, ...addresses]) {
      try {
        const state = await this.#at('', address).ask(OperatorService.method.getClusterState, {});
        this.#entry = address;
        return state;
      } catch (error) {
        if (!(error instanceof CtlError) || error.exit !== Exit.UNREACHABLE) throw error;
        failures.push(error.message);
      }
    }
    throw new CtlError(Exit.UNREACHABLE, failures.join('; '));
  }

  /** Every node that lives; the one that was reached first by the address that reached it. */
  async nodes(state?: GetClusterStateResponse): Promise<Node[]> {
    const { node, members } = state ?? (await this.state());
    const others = members.filter(({ id }) => id !== node).map((member) => this.nodeOf(member));
    return [this.#at(node, this.#entry!), ...others];
  }

  /** Nodes that own shards of this headend; of any if it is ''. Throws CtlError if there is none. */
  async hosting(headend: string): Promise<{ node: Node; headends: string[] }[]> {
    const state = await this.state();
    const shards = state.shards.filter((shard) => headend === '' || shard.headend === headend);
    if (headend !== '' && shards.length === 0)
      throw new CtlError(Exit.NOT_FOUND, `no shard of headend "${headend}" has ever had an owner`);
    return (await this.nodes(state)).flatMap((node) => {
      const own = shards.filter((shard) => shard.node === node.id).map((shard) => shard.headend);
      return own.length > 0 ? [{ node, headends: [...new Set(own)] }] : [];
    });
  }

  /** Headends that have shards with an owner. */
  async headends(): Promise<string[]> {
    return [...new Set((await this.state()).shards.map(({ headend }) => headend))].sort();
  }

  nodeOf({ id, address }: Pick<Member, 'id' | 'address'>): Node {
    return this.#at(id, address);
  }

  /** Asks several nodes at once. Those that cannot be reached are noted as {@link unreached}; another error is thrown. */
  async each<N extends { readonly node: Node }, T>(nodes: readonly N[], ask: (of: N) => Promise<T>): Promise<T[]> {
    const answers = await Promise.all(
      nodes.map((of) =>
        ask(of).then(
          (value) => [value],
          (error) => this.unlessUnreached(of.node, error),
        ),
      ),
    );
    return answers.flat();
  }

  /** Notes a node that cannot be reached; throws every other error. */
  unlessUnreached(node: Node, error: unknown): [] {
    if (!(error instanceof CtlError) || error.exit !== Exit.UNREACHABLE) throw error;
    this.unreached.set(node.id, error.message);
    return [];
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  #at(id: string, address: string): Node {
    const client = this.#client(address);
    const { timeoutMs } = this.#connection;
    return {
      id,
      address,
      ask: async (method, request) => {
        try {
          return await this.#calls(() => client.unary(method, request, timeoutMs));
        } catch (error) {
          throw isServiceError(error) ? fromService(error, id === '' ? address : id) : error;
        }
      },
      watch: (method, request) => client.watch(method, request),
    };
  }

  #client(address: string): ApiClient {
    let client = this.#clients.get(address);
    if (!client) {
      client = new ApiClient({ ...this.#connection, address });
      this.#clients.set(address, client);
    }
    return client;
  }
}
