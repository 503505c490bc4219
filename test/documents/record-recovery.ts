/** The sessions of `docs/recovery.md`: real places are broken, and real commands are asked what is wrong with them. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startRedis } from '../support/redis-server.js';
import { Terminal, type Window } from './terminal.js';

/** The sessions, by the names that they have in the document. */
export const RECOVERY_SESSIONS: Readonly<Record<string, () => Promise<string>>> = {
  'torn-journal': () => recorded(tornJournal),
  'damaged-state-file': () => recorded(damagedStateFile),
  'database-gone': () => recorded(databaseGone),
  'locked-state': () => recorded(lockedState),
  'flushed-redis': () => recorded(flushedRedis),
  'flushed-under-a-run': () => recorded(flushedUnderARun),
};

const FILE = './review.json';
const SQLITE = 'sqlite:./review.db?job=review';

async function recorded(session: (terminal: Terminal) => Promise<string>): Promise<string> {
  const terminal = await Terminal.open();
  try {
    terminal.program('check', 'while [ -e ".hold-$1" ]; do sleep 0.05; done');
    writeFileSync(join(terminal.directory, 'prompts'), Array.from({ length: 40 }, (_, n) => `prompt-${n + 1}\n`).join(''));
    return await session(terminal);
  } finally {
    terminal.close();
  }
}

async function tornJournal(terminal: Terminal): Promise<string> {
  const run = await untilPrompt30(terminal, FILE);
  await run.kill('SIGKILL');
  unhold(terminal);
  forget(terminal);
  tearLastLine(join(terminal.directory, 'review.json.1.journal'));
  await terminal.type(`loopstate status --state ${FILE}`);
  await terminal.type(`loopstate doctor --state ${FILE}`);
  terminal.askExitCode();
  await terminal.type(runOf(FILE));
  terminal.askExitCode();
  return terminal.block();
}

async function damagedStateFile(terminal: Terminal): Promise<string> {
  await terminal.type(runOf(FILE));
  forget(terminal);
  await terminal.type('printf garbage | dd of=review.json bs=1 seek=600 conv=notrunc status=none');
  await terminal.type(`loopstate doctor --state ${FILE}`);
  terminal.askExitCode();
  await terminal.type(`loopstate doctor --state ${FILE} --repair`);
  terminal.askExitCode();
  await terminal.type(`loopstate status --state ${FILE}`);
  return terminal.block();
}

async function databaseGone(terminal: Terminal): Promise<string> {
  await terminal.type(runOf(SQLITE));
  forget(terminal);
  await terminal.type('rm review.db');
  await terminal.type(`loopstate doctor --state '${SQLITE}'`);
  terminal.askExitCode();
  await terminal.type(runOf(SQLITE));
  terminal.askExitCode();
  return terminal.block();
}

async function lockedState(terminal: Terminal): Promise<string> {
  const run = await untilPrompt30(terminal, FILE);
  await terminal.type(runOf(FILE));
  terminal.askExitCode();
  await terminal.type(`loopstate status --state ${FILE}`);
  await terminal.type(`loopstate doctor --state ${FILE}`);
  terminal.askExitCode();
  const text = terminal.block();
  unhold(terminal);
  await run.ended;
  return text;
}

async function flushedRedis(terminal: Terminal): Promise<string> {
  const server = await startRedis();
  try {
    const url = `redis://127.0.0.1:${server.port}/0?job=review`;
    await terminal.type(runOf(url));
    forget(terminal);
    await terminal.type(`loopstate export --state '${url}' --output backup.jsonl`);
    await terminal.type(`redis-cli -p ${server.port} FLUSHALL`);
    await terminal.type(`loopstate status --state '${url}'`);
    terminal.askExitCode();
    await terminal.type(`loopstate doctor --state '${url}'`);
    terminal.askExitCode();
    await terminal.type(`loopstate import --state '${url}' backup.jsonl`);
    await terminal.type(runOf(url));
    terminal.askExitCode();
    return terminal.block([portOf(server.port)]);
  } finally {
    await server.remove();
  }
}

async function flushedUnderARun(terminal: Terminal): Promise<string> {
  const server = await startRedis();
  try {
    const url = `redis://127.0.0.1:${server.port}/0?job=review`;
    const run = await untilPrompt30(terminal, url);
    execFileSync('redis-cli', ['-p', `${server.port}`, 'FLUSHALL']);
    unhold(terminal);
    await run.ended;
    terminal.askExitCode();
    await terminal.type(`loopstate status --state '${url}'`);
    return terminal.block([portOf(server.port)]);
  } finally {
    await server.remove();
  }
}

/** Leaves of the last line what a power cut may leave of a write. */
function tearLastLine(journal: string): void {
  const bytes = readFileSync(journal);
  const end = bytes.findLastIndex((byte) => byte !== 0);
  writeFileSync(journal, bytes.fill(0, end - 40));
}

function runOf(state: string): string {
  return `loopstate run --state ${state.includes('?') ? `'${state}'` : state} --items prompts -- ./check {}`;
}

/** Starts a run that goes no further than prompt 30 until it is let go. */
async function untilPrompt30(terminal: Terminal, state: string): Promise<Window> {
  writeFileSync(join(terminal.directory, '.hold-prompt-30'), '');
  const run = terminal.start(runOf(state));
  await terminal.itemIsBegun(state, 'prompt-30');
  return run;
}

function unhold(terminal: Terminal): void {
  rmSync(join(terminal.directory, '.hold-prompt-30'));
}

/** What was typed to get there is no part of the session. */
function forget(terminal: Terminal): void {
  terminal.block();
}

function portOf(port: number): readonly [RegExp, string] {
  return [new RegExp(`\\b${port}\\b`, 'g'), '6379'];
}
