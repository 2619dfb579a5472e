/** Settings of telemetry besides the standard OTEL_* variables; every program has them. */

const ADDRESS = /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):(\d{1,5})$/;

/** Where an HTTP server listens. */
export type HttpAddress = { readonly host: string; readonly port: number };

export const TELEMETRY_SETTINGS = {
  metricsAddress: {
    env: 'DPD_METRICS_ADDRESS',
    help: 'host:port for /metrics (Prometheus), /livez and /readyz, in plaintext and open to everyone who reaches it; empty: none',
    fallback: '',
    parse: (value: string): HttpAddress | undefined => (value === '' ? undefined : parseHttpAddress(value)),
  },
} as const;

/** Throws an error that says what is wrong with it. */
export function parseHttpAddress(value: string): HttpAddress {
  const [, host, port] = ADDRESS.exec(value) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new Error('must be host:port, with a port from 0 to 65535');
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
