/** Whether the process in this container lives, for HEALTHCHECK: asks its /livez at the port of DPD_METRICS_ADDRESS. Exit code 0 or 1. */

const WAIT_MS = 4_000;
const port = (process.env['DPD_METRICS_ADDRESS'] ?? '').split(':').at(-1);

const lives = await fetch(`http://127.0.0.1:${port}/livez`, { signal: AbortSignal.timeout(WAIT_MS) }).then(
  ({ ok }) => ok,
  () => false,
);
process.exit(lives ? 0 : 1);
