/** What the demo and the thread of simulated spokes say to each other. */

export type ToSpokes =
  | {
      readonly type: 'start';
      readonly seed: string;
      readonly count: number;
      readonly sockets: number;
      readonly suite?: number | undefined;
    }
  /** What has it cost so far? */
  | { readonly type: 'cost' }
  /** A spoke sets up its SA on its other endpoint. */
  | { readonly type: 'bring'; readonly spoke: number; readonly life: number }
  | { readonly type: 'kill'; readonly spoke: number; readonly life: number };

export type FromSpokes =
  /** CPU time of the thread, and answers given. */
  | { readonly type: 'cost'; readonly cpuMicros: number; readonly answered: number }
  | { readonly type: 'ready'; readonly sockets: readonly { address: string; port: number }[] }
  | { readonly type: 'killed'; readonly spoke: number; readonly life: number; readonly lastAnswerUnix: number };
