/**
 * The door that every call passes before its handler: whether its certificate still counts, and whether its holder has calls and bytes
 * left. So one holder, however bad, leaves enough for the others. Calls under way end when their certificate is revoked or expires.
 */

import type { ServerHttp2Stream } from 'node:http2';
import type { PeerCertificate } from 'node:tls';
import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from '@grpc/grpc-js';
import type { Revocations } from '../../api/grpc/revocations.ts';
import type { Clock } from '../../base/clock.ts';
import type { Access } from './access.ts';

/** What the holder of a certificate may have under way on a node. Whoever is on the host itself, in plaintext, has no such limits. */
export const CALLER_LIMITS = {
  /** Streams: those of a headend with the most shards there are, twice, as an agent that comes back may still seem to be here. */
  streams: 512,
  /** Calls with one response. */
  calls: 64,
  /** Bytes of requests that have not arrived in full. */
  unfinishedBytes: 64 * 1024 * 1024,
} as const;
/** Largest request of a call that has only one, and longest wait for it, ms. */
const REQUEST_BYTES = 1024 * 1024;
const REQUEST_MS = 10_000;
/** A caller that is shown out may take so long to read why, ms. */
const EXPEL_MS = 1_000;
/** How often certificates of calls under way are looked at, ms. */
const SWEEP_MS = 1_000;

/** What a holder of certificates has under way. */
type Holder = { streams: number; calls: number; unfinishedBytes: number };

/** A call under way, and what it has of its holder's. */
type Call = {
  readonly call: ServerInterceptingCallInterface;
  readonly stream: ServerHttp2Stream | undefined;
  readonly certificate: PeerCertificate | undefined;
  readonly kind: 'streams' | 'calls';
  unfinishedBytes: number;
  /** Of a call with one request: ends the wait for it. */
  arrived: () => void;
};

type Refusal = { readonly code: status; readonly details: string };

export class Admission {
  readonly #access: Access;
  readonly #clock: Clock;
  readonly #holders = new Map<string, Holder>();
  readonly #calls = new Map<Call, Holder>();
  readonly #cancel: () => void;
  #revocations: Revocations | undefined;

  /** @param access knows callers by their certificates @param revocations undefined: plaintext */
  constructor(access: Access, revocations: Revocations | undefined, clock: Clock) {
    this.#access = access;
    this.#revocations = revocations;
    this.#clock = clock;
    this.#cancel = clock.every(SWEEP_MS, () => this.#sweep());
  }

  /** Other certificates are revoked now. */
  revoke(revocations: Revocations): void {
    this.#revocations = revocations;
    this.#sweep();
  }

  close(): void {
    this.#cancel();
  }

  /** For the server's options; the only interceptor there. */
  readonly interceptor: ServerInterceptor = ({ requestStream, responseStream }, call) => {
    const kind = requestStream || responseStream ? 'streams' : 'calls';
    const admitted: Call = {
      call,
      // Private to grpc-js: without it large requests are not counted, and connections not ended.
      stream: (call as unknown as { stream?: ServerHttp2Stream }).stream,
      certificate: call.getAuthContext().sslPeerCertificate,
      kind,
      unfinishedBytes: 0,
      arrived: () => {},
    };
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        const refusal = this.#admit(admitted, requestStream);
        if (refusal) this.#expel(admitted, refusal);
        else next(metadata);
      })
      .withOnReceiveMessage((message, next) => {
        this.#finished(admitted);
        next(message);
      })
      .withOnCancel(() => this.#ended(admitted))
      .build();
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };

  #admit(call: Call, requestStream: boolean): Refusal | undefined {
    const { certificate, kind, stream } = call;
    const invalid = certificate && this.#whyInvalid(certificate);
    if (invalid) return { code: status.UNAUTHENTICATED, details: invalid };
    const { name, local } = this.#access.of(call.call);
    if (local) return undefined;
    const holder = this.#holders.get(name) ?? { streams: 0, calls: 0, unfinishedBytes: 0 };
    if (holder[kind] >= CALLER_LIMITS[kind])
      return { code: status.RESOURCE_EXHAUSTED, details: `${name} has ${CALLER_LIMITS[kind]} ${kind} here already` };
    holder[kind]++;
    this.#holders.set(name, holder);
    this.#calls.set(call, holder);
    stream?.on('data', (data: Buffer) => this.#received(call, holder, data.length, requestStream));
    if (!requestStream)
      call.arrived = this.#clock.after(REQUEST_MS, () =>
        this.#expel(call, { code: status.DEADLINE_EXCEEDED, details: `no request within ${REQUEST_MS} ms` }),
      );
    return undefined;
  }

  #received(call: Call, holder: Holder, bytes: number, requestStream: boolean): void {
    if (!this.#calls.has(call)) return;
    call.unfinishedBytes += bytes;
    holder.unfinishedBytes += bytes;
    const { unfinishedBytes } = CALLER_LIMITS;
    if (!requestStream && call.unfinishedBytes > REQUEST_BYTES)
      this.#expel(call, { code: status.RESOURCE_EXHAUSTED, details: `a request of more than ${REQUEST_BYTES} bytes` });
    else if (holder.unfinishedBytes > unfinishedBytes) {
      const details = `more than ${unfinishedBytes} bytes of requests that have not arrived in full`;
      this.#expel(call, { code: status.RESOURCE_EXHAUSTED, details });
    }
  }

  /** A request has arrived in full; the next may have begun with the same frame, and counts for nothing there. */
  #finished(call: Call): void {
    call.arrived();
    const holder = this.#calls.get(call);
    if (holder) holder.unfinishedBytes -= call.unfinishedBytes;
    call.unfinishedBytes = 0;
  }

  #ended(call: Call): void {
    this.#finished(call);
    const holder = this.#calls.get(call);
    if (!holder) return;
    this.#calls.delete(call);
    holder[call.kind]--;
    if (holder.streams + holder.calls > 0) return;
    for (const [name, known] of this.#holders) if (known === holder) this.#holders.delete(name);
  }

  /** Ends a call, and soon its stream, whatever its caller goes on sending. */
  #expel({ call, stream }: Call, { code, details }: Refusal): void {
    call.sendStatus({ code, details });
    this.#clock.after(EXPEL_MS, () => stream?.close());
  }

  #sweep(): void {
    /** Each certificate is looked at once. */
    const known = new Map<string, string | undefined>();
    for (const call of this.#calls.keys()) {
      const { certificate, stream } = call;
      if (!certificate) continue;
      const { fingerprint256 } = certificate;
      if (!known.has(fingerprint256)) known.set(fingerprint256, this.#whyInvalid(certificate));
      const details = known.get(fingerprint256);
      if (details === undefined) continue;
      this.#expel(call, { code: status.UNAUTHENTICATED, details });
      this.#clock.after(EXPEL_MS, () => stream?.session?.destroy());
    }
  }

  /** Why a certificate that was good when its connection was made counts no more. */
  #whyInvalid(certificate: PeerCertificate): string | undefined {
    // A time that cannot be read is over.
    if (!(Date.parse(certificate.valid_to) > this.#clock.wall())) return 'the certificate has expired';
    return this.#revocations?.has(certificate.raw) ? 'the certificate is revoked' : undefined;
  }
}
