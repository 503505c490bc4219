/** The golden files: what was written once, and what it must be read as for ever. `make.ts` wrote them. */
import fs from 'node:fs';
import type { Json } from '@loopstate/core';

/** What a folder of golden files holds. */
export interface Expected {
  /** By key. Those of a store; of an older format, all but `meta`. */
  readonly records: Readonly<Record<string, { readonly revision: number; readonly value: Json }>>;
  /** What was put before and is replaced or deleted, by `key@revision`. */
  readonly replaced: Readonly<Record<string, Json>>;
  /** What opening reports: codes and severities. */
  readonly findings: readonly (readonly [code: string, severity: string])[];
  /** The code of the error with which opening refuses it. */
  readonly refusal?: string;
}

/** By folder. */
export type Golden = Readonly<Record<string, Expected>>;

/** What all folders hold. */
export function readGolden(): Golden {
  return JSON.parse(fs.readFileSync(new URL('./expected.json', import.meta.url), 'utf8')) as Golden;
}

/** The files of a folder. They have a name of their own there, so that nothing takes them for files to be formatted. */
export function readGoldenFiles(folder: string): Map<string, Buffer> {
  const place = new URL(`./${folder}/`, import.meta.url);
  return new Map(fs.readdirSync(place).map((name) => [name.replace(/\.golden$/, ''), fs.readFileSync(new URL(name, place))]));
}
