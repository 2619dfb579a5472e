/** What Prometheus and Kubernetes fetch in plaintext: /metrics, /livez and /readyz. It tells nothing of a peer. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SettingsError } from '../../workers/base/errors.ts';
import type { HttpAddress } from './settings.ts';

/** Longest time for a request, ms, and connections at once: scrapers and probes come seldom. */
const REQUEST_MS = 10_000;
const MOST_CONNECTIONS = 64;
const TEXT = { 'content-type': 'text/plain; charset=utf-8' };

/** How the process answers Kubernetes. It lives for as long as it answers at all. */
export type HttpProbes = {
  /** Why nothing new should come here, or undefined if all may. */
  notReady(): string | undefined;
};

export type Scrape = (request: IncomingMessage, response: ServerResponse) => void;

export type HttpServer = { readonly port: number; close(): void };

/**
 * Listens. Rejects with SettingsError if the address cannot be had.
 * @param scrape undefined: there are no metrics, as OTEL_SDK_DISABLED says
 */
export async function serveHttp(
  { host, port }: HttpAddress,
  scrape: Scrape | undefined,
  probes: HttpProbes = { notReady: () => undefined },
): Promise<HttpServer> {
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { ...TEXT, allow: 'GET, HEAD' }).end('only GET\n');
      return;
    }
    switch (request.url?.split('?')[0]) {
      case '/metrics':
        if (scrape) scrape(request, response);
        else response.writeHead(404, TEXT).end('OTEL_SDK_DISABLED\n');
        return;
      case '/livez':
        response.writeHead(200, TEXT).end('ok\n');
        return;
      case '/readyz': {
        const reason = probes.notReady();
        response.writeHead(reason === undefined ? 200 : 503, TEXT).end(`${reason ?? 'ok'}\n`);
        return;
      }
      default:
        response.writeHead(404, TEXT).end('/metrics, /livez or /readyz\n');
    }
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.listen({ host, port });
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new SettingsError(`metrics-address ${host}:${port}: ${(error as Error).message}`);
  }
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
