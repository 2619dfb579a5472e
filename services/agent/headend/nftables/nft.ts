/** The kernel's nftables: one nft process for all changes, which runs as long as the agent, and one that reports changes. */

import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { SteeringError } from '../../../../workers/base/errors.ts';
import { checkGrammar } from './grammar.ts';
import { type RuleSet, type RulesStatus, readStatus, removal, renderRules, TABLE } from './rules.ts';

/** Longest wait for a command of nft, ms. */
const NFT_MS = 5_000;
/** Asks nft for a line that it always prints: then all its earlier output has been read. */
const MARK = 'describe meta mark';
const MARKED = /^meta expression/;

/** As nft names a table. */
type Table = { readonly name: string; readonly family: string };

type Command = { readonly lines: string[]; settle(error?: Error): void };

export class Nft {
  #process: ChildProcessWithoutNullStreams | undefined;
  readonly #pending: Command[] = [];

  /** Has nft execute commands, one transaction a line. Returns its output. Rejects with SteeringError if it refuses one. */
  async run(commands: string): Promise<string> {
    const lines = await this.#ask(commands);
    const error = lines.find((line) => line.startsWith('Error:') || line.includes(': Error:'));
    if (error !== undefined) throw new SteeringError(`nft: ${error}`);
    return lines.join('\n');
  }

  /** Ends nft; earlier commands are still executed. */
  close(): void {
    this.#process?.stdin.end();
    this.#process = undefined;
  }

  #ask(commands: string): Promise<string[]> {
    const { promise, resolve, reject } = Promise.withResolvers<string[]>();
    const process = this.#running();
    const timer = setTimeout(() => process.kill('SIGKILL'), NFT_MS);
    const lines: string[] = [];
    this.#pending.push({
      lines,
      settle(error) {
        clearTimeout(timer);
        if (error) reject(error);
        else resolve(lines);
      },
    });
    process.stdin.write(`${commands}\n${MARK}\n`);
    return promise;
  }

  #running(): ChildProcessWithoutNullStreams {
    if (this.#process) return this.#process;
    // Its errors are read in the order of its answers.
    const process = spawn('sh', ['-c', 'exec nft -i 2>&1']);
    this.#process = process;
    createInterface({ input: process.stdout }).on('line', (line) => {
      const [command] = this.#pending;
      if (MARKED.test(line)) this.#pending.shift()?.settle();
      else command?.lines.push(line);
    });
    const ended = (reason: string) => {
      if (this.#process === process) this.#process = undefined;
      for (const command of this.#pending.splice(0)) command.settle(new SteeringError(`nft ${reason}`));
    };
    process.stdin.on('error', () => {});
    process.on('error', (error) => ended(error.message));
    process.on('close', () => ended(`ended, or did not answer within ${NFT_MS} ms`));
    return process;
  }
}

/**
 * Installs rules in place of the present ones. Rejects with SteeringError, also for values that are invalid in rules.
 */
export async function installRules(rules: RuleSet): Promise<void> {
  checkGrammar(rules);
  await once(['-f', '-'], renderRules(rules));
}

/** Takes the rules down. */
export async function removeRules(): Promise<void> {
  await once(['-f', '-'], removal(await standingFamilies()));
}

/** Which of the rules are installed. Rejects with SteeringError if that cannot be found out. */
export async function readRules(): Promise<RulesStatus> {
  const list = (family: string) => once(['-j', '-t', 'list', 'table', family, TABLE]);
  return readStatus(...(await Promise.all((await standingFamilies()).map(list))));
}

/** Families that have a table of ours. */
async function standingFamilies(): Promise<string[]> {
  const { nftables } = JSON.parse(await once(['-j', 'list', 'tables'])) as { nftables: { table?: Table }[] };
  return nftables.flatMap(({ table }) => (table?.name === TABLE ? table.family : []));
}

/** Low words of the responder SPIs of SAs in care, as the installed rules have them. Rejects with SteeringError. */
export async function readCare(): Promise<number[]> {
  const { nftables } = JSON.parse(await once(['-j', 'list', 'set', 'ip', TABLE, 'care'])) as {
    nftables: { set?: { elem?: number[] } }[];
  };
  return nftables.flatMap(({ set }) => set?.elem ?? []);
}

/** Runs a separate process, for rare commands. */
function once(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('nft', args, { timeout: NFT_MS }, (error, stdout, stderr) => {
      if (error) reject(new SteeringError(`nft ${args.join(' ')}: ${stderr.trim() || error.message}`));
      else resolve(stdout);
    });
    child.stdin!.on('error', () => {});
    child.stdin!.end(input);
  });
}

/** Calls back whenever any process adds or removes a rule of ours. Returns the function that stops this. */
export function watchRules(changed: () => void): () => void {
  let stopped = false;
  let watcher: ChildProcessWithoutNullStreams;
  const start = () => {
    // It ends with this process, however this process ends.
    watcher = spawn('sh', ['-c', 'nft monitor rules & cat >/dev/null; kill $!']);
    createInterface({ input: watcher.stdout }).on('line', (line) => {
      if (line.includes(TABLE)) changed();
    });
    watcher.on('error', () => {});
    watcher.on('close', () => {
      // Changes made meanwhile must be looked for.
      if (!stopped) setTimeout(start, NFT_MS).unref();
      if (!stopped) changed();
    });
  };
  start();
  return () => {
    stopped = true;
    watcher.stdin.end();
  };
}
