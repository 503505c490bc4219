/**
 * Enriches a CSV row by row, resumably: each row is an item, what is found out about it is recorded, and at the end the new CSV is written
 * from what all runs recorded. A row that was changed since runs again; one that was taken out of the CSV is not written.
 *
 *     enrich-csv.ts <people.csv> <enriched.csv> [state.json]        (columns: id, name, email)
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { pipeline as joined } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'csv-parse';
import { LoopState, runLoop } from 'loopstate';

type Row = Readonly<Record<string, string>> & { readonly id: string };

const [inputPath = 'people.csv', outputPath = 'enriched.csv', statePath = 'enrich.state.json'] = process.argv.slice(2);

const state = await LoopState.create(statePath);
const ids = new Set<string>();
const { status, counts, progress } = await runLoop({
  state,
  items: rows(),
  concurrency: 8,
  digest: (row) => createHash('sha256').update(JSON.stringify(row)).digest('hex'),
  onChange: 'rerun',
  work: enrich,
});
if (status === 'completed') {
  await pipeline(enrichedLines, createWriteStream(`${outputPath}.part`));
  await rename(`${outputPath}.part`, outputPath); // Whoever reads it sees the old one or the new one, whole.
}
console.log(`${status}: ${counts.started} rows enriched now, ${progress.failed} failed`);
await state.close();
process.exitCode = status !== 'completed' ? 3 : progress.failed > 0 ? 1 : 0;

async function* rows(): AsyncGenerator<Row> {
  const parser = joined(createReadStream(inputPath), parse({ columns: true, bom: true }), () => undefined); // Its error ends the loop below.
  for await (const row of parser as AsyncIterable<Row>) {
    ids.add(row.id);
    yield row;
  }
}

async function enrich(row: Row): Promise<Row> {
  await sleep(5); // Stands for the service that you ask.
  const [, domain] = row.email?.split('@') ?? [];
  if (domain === undefined) throw new Error('It has no e-mail address.');
  return { ...row, domain, initials: (row.name ?? '').replace(/\B\w|\W/g, '') };
}

/** One after another from the state, so that there may be more of them than memory holds; in the order in which they were recorded. */
async function* enrichedLines(): AsyncGenerator<string> {
  let names: readonly string[] = [];
  for await (const [id, { status, output }] of state.items()) {
    if (status !== 'completed' || !ids.delete(id)) continue;
    const row = output as Row;
    if (names.length === 0) {
      names = Object.keys(row);
      yield line(names);
    }
    yield line(names.map((name) => row[name] ?? ''));
  }
}

function line(fields: readonly string[]): string {
  return `${fields.map((field) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join()}\n`;
}
