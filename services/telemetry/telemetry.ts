/**
 * Metrics and traces of a process, as the standard OTEL_* variables say, and what Prometheus and Kubernetes fetch. The SDK takes
 * 39 MB of memory, so it is loaded only if something is exported.
 */

import { type HttpProbes, type HttpServer, serveHttp } from './http-server.ts';
import type { SdkOptions } from './sdk.ts';
import type { HttpAddress } from './settings.ts';
import { traceSuspicions } from './traces.ts';
import { readWanted } from './wanted.ts';

export type TelemetryOptions = SdkOptions & {
  readonly metricsAddress?: HttpAddress | undefined;
  readonly probes?: HttpProbes;
};

export type Telemetry = {
  /** Port of /metrics, 0 if there is none. */
  readonly port: number;
  /** Exports the metrics of this moment. */
  flush(): Promise<void>;
  /** Exports what there is, and stops. */
  stop(): Promise<void>;
};

/**
 * Starts telemetry; before meters and tracers are used. Rejects with SettingsError if the environment names what there is not,
 * or the port cannot be had.
 */
export async function startTelemetry(options: TelemetryOptions, env = process.env): Promise<Telemetry> {
  const wanted = readWanted(env, options.metricsAddress);
  const disabled = env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true';
  const exporting = !disabled && (wanted.traces || wanted.metrics.length > 0 || wanted.scraped || options.processor);
  const sdk = exporting ? (await import('./sdk.ts')).startSdk(options, wanted) : undefined;
  traceSuspicions(!disabled && (wanted.traces || options.processor !== undefined));
  let server: HttpServer | undefined;
  if (wanted.scraped) server = await serveHttp(wanted.scraped, sdk?.scrape, options.probes);
  return {
    port: server?.port ?? 0,
    flush: async () => sdk?.flush(),
    stop: async () => {
      await sdk?.stop();
      server?.close();
    },
  };
}
