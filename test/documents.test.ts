/**
 * What the program says of itself is what the documents say: each generated document is made anew, and must be the one that stands there;
 * every exported name has a doc comment.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Diagnosis } from '@loopstate/core';
import { expect } from 'chai';
import { apiReference } from './documents/api-reference.js';
import { GENERATED_DOCUMENTS } from './documents/generated.js';
import { anchors } from './documents/markdown.js';
import { runCli } from './support/cli.js';
import { WORKSPACE } from './support/compiled.js';
import { startRedis } from './support/redis-server.js';
import { askRedis } from './support/resp.js';

describe('Links', () => {
  const packages = readdirSync(join(WORKSPACE, 'packages'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const folders = ['.', 'docs', 'test', ...packages.map(({ name }) => `packages/${name}`)];
  const documents = folders.flatMap((folder) =>
    readdirSync(join(WORKSPACE, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  );

  it('lead to files and headings that are there', () => {
    const broken: string[] = [];
    for (const path of documents) {
      const text = readFileSync(join(WORKSPACE, path), 'utf8').replace(/^```.*?^```/gms, '');
      for (const [, target = '', place = ''] of text.matchAll(/\]\(([^)#\s]*)(?:#([^)]*))?\)/g)) {
        if (target.includes('://')) continue;
        const file = target === '' ? path : join(dirname(path), target);
        if (!existsSync(join(WORKSPACE, file)) || (place !== '' && !headingsOf(file).includes(place)))
          broken.push(`${path}: ${target}#${place}`);
      }
    }
    expect(broken).to.deep.equal([]);
    expect(documents.length).to.be.greaterThan(12);
  });
});

describe('docs/operating-redis.md', () => {
  it('sets up a server, and a user that may do what a loop needs and no more', async function () {
    this.timeout(60_000);
    const [settings = '', user = ''] = [
      ...readFileSync(join(WORKSPACE, 'docs/operating-redis.md'), 'utf8').matchAll(/^```text\n(.*?)\n```/gms),
    ].map(([, block]) => block ?? '');
    const server = await startRedis(settings.split('\n').flatMap((line) => [`--${line.split(' ')[0]}`, ...line.split(' ').slice(1)]));
    try {
      const words = user.split(' ');
      const state = `redis://review:secret@127.0.0.1:${server.port}/0?job=review`;
      const run = async (...args: string[]) => await runCli([...args, '--state', state], { cwd: tmpdir(), input: 'a\nb\n' });
      const again = async () => await runCli(['run', '--state', state, '--', 'true'], { cwd: tmpdir(), input: 'a\nb\n' });
      await askRedis(server.port, ...words);
      expect((await again()).code).to.equal(0);
      const { findings } = JSON.parse((await run('doctor', '--json')).stdout) as Diagnosis;
      expect(findings.filter(({ severity }) => severity !== 'ok')).to.deep.equal([]);
      expect((await run('forget', 'a')).code).to.equal(0);
      await askRedis(server.port, ...words, '-zadd');
      expect((await again()).code).to.equal(6);
    } finally {
      await server.remove();
    }
  });
});

function headingsOf(path: string): string[] {
  const text = readFileSync(join(WORKSPACE, path), 'utf8').replace(/^```.*?^```/gms, '');
  const anchor = anchors();
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchor(heading));
}

/** Said where temporary files are on a file system that is not known to carry a sync through a power loss. */
const FORGETS = /file-system-forgets|survives process crash/;

describe('Generated documents', () => {
  for (const { path, write } of GENERATED_DOCUMENTS) {
    it(`${path} is what the program says now; \`pnpm run docs\` writes it`, async function () {
      this.timeout(240_000);
      const now = readFileSync(join(WORKSPACE, path), 'utf8');
      const made = await write(now);
      const see = FORGETS.test(made) ? withoutFileSystem : (text: string) => text;
      expect(see(made)).to.equal(see(now));
    });
  }

  it('say something of every exported name', function () {
    this.timeout(120_000);
    expect(apiReference().uncommented).to.deep.equal([]);
  });
});

/** Recorded elsewhere, the sessions differ by what is said of the file system and in what follows from it. */
function withoutFileSystem(text: string): string {
  const differs = /file-system|survives|Keep the state on a local disk|^All is well|should be looked after|^[01]$/;
  return text
    .split('\n')
    .filter((line) => !differs.test(line))
    .join('\n');
}
