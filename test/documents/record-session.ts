/** The session of the README: a loop is killed with SIGKILL part-way, looked at, and run again. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Terminal } from './terminal.js';

const RUN = "loopstate run --state ./shrink.json --glob 'photos/*.jpg' -- ./shrink {}";

/** Records it anew. */
export async function recordKillAndResume(): Promise<string> {
  const terminal = await Terminal.open();
  try {
    const { directory } = terminal;
    mkdirSync(join(directory, 'photos'));
    for (const name of ['ada', 'bob', 'cat', 'dan', 'eve', 'fay']) writeFileSync(join(directory, 'photos', `${name}.jpg`), name);
    // The fourth takes its time until there is nobody left to wait for it.
    writeFileSync(join(directory, '.hold'), '');
    terminal.program('shrink', 'while [ "$1" = photos/dan.jpg ] && [ -e .hold ]; do sleep 0.05; done\necho "shrunk $1"');

    const run = terminal.start(RUN);
    await run.shows('cat.jpg');
    await terminal.itemIsBegun('./shrink.json', 'photos/dan.jpg');
    await run.kill('SIGKILL');
    terminal.askExitCode();
    await terminal.type('rm .hold; loopstate status --state ./shrink.json');
    await terminal.type(RUN);
    terminal.askExitCode();
    await terminal.type(RUN);
    return terminal.block([[/rm \.hold; /, '']]);
  } finally {
    terminal.close();
  }
}
