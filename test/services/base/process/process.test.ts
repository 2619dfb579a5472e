import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { lowDescriptorLimit } from '../../../../services/base/process/descriptors.ts';
import { skipUnless } from '../../../requirements.ts';

const PROCESS = new URL('../../../../services/base/process/', import.meta.url).href;

/** Runs a module's text as a program. */
const run = (code: string) => [process.execPath, ['--input-type=module', '-e', code]] as const;

test('too low a limit of file descriptors is told, with what is needed', () => {
  const limits = (soft: string) =>
    `Limit\nMax open files            ${soft}                 4096                 files\n`;
  assert.equal(lowDescriptorLimit(1_000, limits('1512')), undefined);
  assert.match(lowDescriptorLimit(1_001, limits('1512'))!, /^1512 file descriptors allowed, but up to 1513 needed/);
  assert.equal(lowDescriptorLimit(1_000, limits('unlimited')), undefined);
  assert.equal(lowDescriptorLimit(1_000, ''), undefined);
  assert.equal(lowDescriptorLimit(0), undefined);
});

test('no core is dumped: neither to a file, nor to a program', { skip: skipUnless({}, { root: false }) }, () => {
  const code = `
    const { forbidCoreDumps } = await import('${PROCESS}core-dumps.ts');
    const { readFileSync, statSync } = await import('node:fs');
    const done = forbidCoreDumps();
    const [, limit] = /Max core file size\\s+(\\S+\\s+\\S+)/.exec(readFileSync('/proc/self/limits', 'utf8'));
    console.log(JSON.stringify({ done, limit: limit.split(/\\s+/), files: statSync('/proc/self/mem').uid }));`;
  const [program, args] = run(code);
  // As another user than root, for whom files in /proc become root's when memory may not be dumped.
  const { stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    ...(process.getuid!() === 0 && { uid: 65_534 }),
  });
  assert.deepEqual(JSON.parse(stdout), { done: true, limit: ['0', '0'], files: 0 }, stderr);
});

test('a main thread that hangs is told, and its process ended; one that is only slow, or suspended, is not', async () => {
  const code = (work: string) => `
    const { startWatchdog } = await import('${PROCESS}watchdog.ts');
    startWatchdog({ error: console.error }, { lookMs: 100, tellMs: 300, endMs: 1500 });
    const block = (ms) => { for (const end = Date.now() + ms; Date.now() < end; ); };
    await new Promise((resolve) => setTimeout(resolve, 1500));
    ${work}`;
  const start = (work: string) => {
    const [program, args] = run(code(work));
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
    });
    child.stderr.on('data', (data) => {
      text += data;
    });
    return { child, text: () => text, exited: once(child, 'exit') };
  };
  // Promises that never let a timer run are what a dependency did.
  const hung = start('for (;;) await null;');
  const [, signal] = await hung.exited;
  assert.equal(signal, 'SIGKILL');
  assert.match(hung.text(), /"component":"watchdog","hangsMs":300,"msg":"the main thread hangs"/);
  assert.match(hung.text(), /"msg":"the main thread hangs: the process is ended"/);

  const slow = start(
    "block(700); await new Promise((resolve) => setTimeout(resolve, 500)); block(700); console.log('done');",
  );
  assert.deepEqual(await slow.exited, [0, null]);
  assert.match(slow.text(), /done/);

  const suspended = start(
    "console.log('up'); await new Promise((resolve) => setTimeout(resolve, 1000)); console.log('done');",
  );
  while (!suspended.text().includes('up')) await sleep(20);
  suspended.child.kill('SIGSTOP');
  await sleep(2_500);
  suspended.child.kill('SIGCONT');
  assert.deepEqual(await suspended.exited, [0, null]);
  assert.doesNotMatch(suspended.text(), /watchdog/);
});
