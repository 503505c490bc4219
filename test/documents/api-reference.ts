/**
 * The library's reference: every exported name with its doc comment and its declaration, as the compiler emits it, members' comments
 * included. Nothing here knows what a name means; a name without a doc comment is told of.
 */
import { join, relative } from 'node:path';
import ts from 'typescript';
import { WORKSPACE } from '../support/compiled.js';
import { anchors, GENERATED } from './markdown.js';

/** What is referred to, in the order in which a reader needs it, each with what it is. */
const PACKAGES: readonly (readonly [name: string, folder: string, introduction: string])[] = [
  [
    'loopstate',
    'loopstate',
    'What people install. It exports all of `@loopstate/core` too, and of `@loopstate/file` what opens a file; those stand below.',
  ],
  [
    '@loopstate/core',
    'core',
    'The contract of a backend, `LoopState`, `runLoop`, and the store in memory. Most programs take these from `loopstate`.',
  ],
  ['@loopstate/file', 'file', 'The backend that keeps a loop in one JSON file.'],
  ['@loopstate/sqlite', 'sqlite', 'The backend that keeps loops in a SQLite database, for the processes of one host.'],
  ['@loopstate/redis', 'redis', 'The backend that keeps loops in Redis, for many hosts.'],
  ['@loopstate/conformance', 'conformance', 'The suite that every backend runs; see [how to write one](writing-a-backend.md).'],
];

const KINDS = ['Classes', 'Functions', 'Constants', 'Interfaces', 'Types'] as const;

const INTRODUCTION = `# The library

Every exported name, with what its doc comment says and its declaration. Times are in milliseconds where a name ends in \`Ms\`, and sizes in
bytes where it ends in \`Bytes\`. Errors are named by their code; [\`ERROR_CODES\`](#error_codes) says what each means.`;

interface Entry {
  readonly name: string;
  readonly kind: (typeof KINDS)[number];
  readonly comment: string;
  readonly declaration: string;
}

/** What {@link apiReference} comes to. */
export interface ApiReference {
  readonly text: string;
  /** The exported names that have no doc comment, as `package: name`. */
  readonly uncommented: readonly string[];
}

let reference: ApiReference | undefined;

/** The text of `docs/api.md`; worked out once, since the compiler takes its time. */
export function apiReference(): ApiReference {
  reference ??= referenceOf();
  return reference;
}

function referenceOf(): ApiReference {
  const entries = entriesOf(PACKAGES.map(([, folder]) => folder));
  const anchor = anchors();
  const [introduction = '', ...others] = INTRODUCTION.split('\n\n');
  anchor(introduction);
  const sections = PACKAGES.map(([name, folder, what]) => section(name, what, entries.get(folder) ?? [], anchor));
  return {
    text: `${[introduction, GENERATED, ...others, ...sections].join('\n\n')}\n`,
    uncommented: PACKAGES.flatMap(([name, folder]) =>
      (entries.get(folder) ?? []).filter(({ comment }) => comment === '').map((entry) => `${name}: ${entry.name}`),
    ),
  };
}

function section(name: string, what: string, entries: readonly Entry[], anchor: (heading: string) => string): string {
  anchor(name);
  const placed = entries.map((entry) => ({ ...entry, anchor: anchor(entry.name) }));
  const index = KINDS.flatMap((kind) => {
    const links = placed.filter((entry) => entry.kind === kind).map((entry) => `[\`${entry.name}\`](#${entry.anchor})`);
    return links.length === 0 ? [] : [`- ${kind}: ${links.join(', ')}`];
  });
  const parts = placed.map((entry) => {
    const declaration = `\`\`\`typescript\n${entry.declaration}\n\`\`\``;
    return `### \`${entry.name}\`\n\n${entry.comment === '' ? '' : `${entry.comment}\n\n`}${declaration}`;
  });
  return [`## \`${name}\``, what, index.join('\n'), ...parts].join('\n\n');
}

/** That the types are right is seen to elsewhere. */
const DECLARATIONS = { declaration: true, emitDeclarationOnly: true, noEmit: false, noCheck: true, sourceMap: false } as const;

/** What each package exports and no earlier package of the list of its own imports does. */
function entriesOf(folders: readonly string[]): ReadonlyMap<string, readonly Entry[]> {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(WORKSPACE, 'tsconfig.json'),
    { ...DECLARATIONS, outDir: join(WORKSPACE, 'declarations') },
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
  );
  const indexes = folders.map((folder) => join(WORKSPACE, 'packages', folder, 'src/index.ts'));
  const program = ts.createProgram(indexes, config?.options ?? {});
  const checker = program.getTypeChecker();
  const declarations = emitted(program);
  return new Map(
    folders.map((folder, index) => {
      const file = program.getSourceFile(indexes[index] ?? '');
      const module = file === undefined ? undefined : checker.getSymbolAtLocation(file);
      const entries = (module === undefined ? [] : checker.getExportsOfModule(module)).flatMap((exported) => {
        const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
        const source = symbol.declarations?.[0]?.getSourceFile();
        if (source === undefined || !source.fileName.startsWith(join(WORKSPACE, 'packages', folder, 'src'))) return [];
        return [entryOf(exported.name, symbol.name, source, declarations)];
      });
      return [folder, KINDS.flatMap((kind) => entries.filter((entry) => entry.kind === kind))];
    }),
  );
}

/** The declarations that the compiler emits, by the path of their source. */
function emitted(program: ts.Program): ReadonlyMap<string, ts.SourceFile> {
  const files = new Map<string, ts.SourceFile>();
  program.emit(
    undefined,
    (path, text, _mark, _onError, sources) => {
      const source = sources?.[0]?.fileName;
      if (source !== undefined) files.set(source, ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true));
    },
    undefined,
    true,
  );
  return files;
}

function entryOf(exportedName: string, name: string, source: ts.SourceFile, declarations: ReadonlyMap<string, ts.SourceFile>): Entry {
  const file = declarations.get(source.fileName);
  const statements = file?.statements.filter((statement) => namesOf(statement).includes(name)) ?? [];
  const [first] = statements;
  if (file === undefined || first === undefined) throw new Error(`${name} is not declared in ${relative(WORKSPACE, source.fileName)}.`);
  // Of the source: where its imports are not emitted, the comments before its first statement are not either.
  const comments = source.statements
    .filter((statement) => namesOf(statement).includes(name))
    .map((statement) => commentOf(source, statement));
  const comment = comments
    .filter((text) => text !== '')
    .join('\n\n')
    .replace("See the file's comment.", headOf(source))
    .trim();
  return {
    name: exportedName,
    kind: kindOf(first),
    comment,
    declaration: statements.map((statement) => declarationOf(statement)).join('\n'),
  };
}

function namesOf(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.map(({ name }) => name.getText());
  if (ts.isClassDeclaration(statement) || ts.isFunctionDeclaration(statement)) return [statement.name?.text ?? ''];
  return ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement) ? [statement.name.text] : [];
}

function kindOf(statement: ts.Statement): Entry['kind'] {
  if (ts.isFunctionDeclaration(statement)) return 'Functions';
  if (ts.isClassDeclaration(statement)) return 'Classes';
  if (ts.isVariableStatement(statement)) return 'Constants';
  return ts.isInterfaceDeclaration(statement) ? 'Interfaces' : 'Types';
}

/** The last doc comment before a statement, as Markdown. */
function commentOf(source: ts.SourceFile, statement: ts.Statement): string {
  const last = ts.getLeadingCommentRanges(source.text, statement.getFullStart())?.at(-1);
  const comment = last === undefined ? '' : source.text.slice(last.pos, last.end);
  return comment.startsWith('/**') ? markdownOf(comment) : '';
}

/** The comment that a source begins with. */
function headOf(source: ts.SourceFile): string {
  const [first] = ts.getLeadingCommentRanges(source.text, 0) ?? [];
  return first === undefined ? '' : markdownOf(source.text.slice(first.pos, first.end));
}

function markdownOf(comment: string): string {
  return comment
    .replace(/^\/\*\*\s?|\s*\*\/$/g, '')
    .replace(/^[ \t]*\* ?/gm, '')
    .replace(/\{@link ([^}]+)\}/g, '`$1`')
    .trim();
}

/** Without what a reader of the declaration can do nothing with. */
function declarationOf(statement: ts.Statement): string {
  return statement
    .getText()
    .replace(/^export (declare )?/, '')
    .replace(/^ *(#private;|private .*;|\/\*\*[^\n]*\*\/\n *private .*;)\n/gm, '')
    .replace(/\{@link ([^}]+)\}/g, '$1')
    .replace(/^( {4})+/gm, (indent) => ' '.repeat(indent.length / 2));
}
