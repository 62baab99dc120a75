// The types that users of the library can name or reach, as a report of API Extractor (https://api-extractor.com/): sorted by name, without
// comments and paths, so that only a change of a type changes it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';
import ts from 'typescript';
import { libraryEntry } from './sources.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
const entry = join(repository, libraryEntry);

export interface Library {
  /** Every exported type, and the types of this package that these are made of. */
  readonly report: string;
  /** The texts that an exported type is a union of. */
  readonly unionOf: (typeName: string) => readonly string[];
}

/** Compiles declarations into a folder of their own, which is removed again. Types are checked elsewhere. */
export function readLibrary(): Library {
  const folder = mkdtempSync(join(tmpdir(), 'stripe-mongo-sync-surface-'));
  try {
    for (const name of ['node_modules', 'package.json'])
      symlinkSync(join(repository, name), join(folder, name));
    const program = compile(join(folder, 'types'));
    return { report: report(folder), unionOf: (typeName) => literalsOf(program, typeName) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compile(outDir: string): ts.Program {
  const { config } = ts.readConfigFile(join(repository, 'tsconfig.json'), (path) =>
    ts.sys.readFile(path),
  ) as {
    config: Record<string, unknown>; // what TypeScript gives for a file that tsc reads in every check
  };
  const { options } = ts.parseJsonConfigFileContent(
    { ...config, include: [], files: [entry] },
    ts.sys,
    repository,
  );
  const program = ts.createProgram([entry], {
    ...options,
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    removeComments: true,
    rootDir: dirname(entry),
    outDir,
  });
  program.emit();
  return program;
}

const silent = { default: { logLevel: ExtractorLogLevel.None } };

function report(folder: string): string {
  const main = join(folder, 'types', basename(entry).replace(/\.ts$/, '.d.ts'));
  const compilerOptions = {
    module: 'nodenext',
    target: 'es2023',
    types: ['node'],
    strict: true,
    skipLibCheck: true,
  };
  mkdirSync(join(folder, 'report'));
  const config = ExtractorConfig.prepare({
    packageJsonFullPath: join(folder, 'package.json'),
    configObjectFullPath: undefined,
    configObject: {
      projectFolder: folder,
      newlineKind: 'lf',
      mainEntryPointFilePath: main,
      compiler: { overrideTsconfig: { compilerOptions, files: [main] } },
      apiReport: {
        enabled: true,
        includeForgottenExports: true,
        reportVariants: ['complete'],
        reportFileName: 'library',
        reportFolder: join(folder, 'report'),
        reportTempFolder: join(folder, 'report'),
      },
      docModel: { enabled: false },
      messages: {
        compilerMessageReporting: silent,
        extractorMessageReporting: silent,
        tsdocMessageReporting: silent,
      },
    },
  });
  Extractor.invoke(config, { localBuild: true, messageCallback: (message) => (message.handled = true) });
  return bare(readFileSync(join(folder, 'report', 'library.api.md'), 'utf8'));
}

/** Without frame, remarks and imports. Members stand in the order in which the compiler met them, so they are sorted. */
function bare(markdown: string): string {
  const code = /^```ts\n(.*?)^```/ms.exec(markdown)?.[1] ?? '';
  const source = ts.createSourceFile('library.d.ts', code, ts.ScriptTarget.ES2023);
  const printer = ts.createPrinter({ removeComments: true });
  const print = (node: ts.Node): string => printer.printNode(ts.EmitHint.Unspecified, node, source);
  const { transformed } = ts.transform(source, [
    (context) => (root) => withSortedMembers(root, context, print),
  ]);
  return transformed
    .flatMap(({ statements }) => [...statements])
    .filter((statement) => !ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement))
    .map(print)
    .join('\n\n');
}

function withSortedMembers<N extends ts.Node>(
  root: N,
  context: ts.TransformationContext,
  print: (node: ts.Node) => string,
): N {
  const { factory } = context;
  const sorted = <T extends ts.Node>(nodes: readonly T[]): T[] =>
    nodes
      .map((node) => ({ node, text: print(node) }))
      .sort((a, b) => (a.text < b.text ? -1 : 1))
      .map(({ node }) => node);
  const visit = (parent: ts.Node): ts.Node => {
    const node = ts.visitEachChild(parent, visit, context);
    if (ts.isTypeLiteralNode(node)) return factory.createTypeLiteralNode(sorted(node.members));
    if (ts.isUnionTypeNode(node)) return factory.createUnionTypeNode(sorted(node.types));
    if (!ts.isInterfaceDeclaration(node)) return node;
    const { modifiers, name, typeParameters, heritageClauses, members } = node;
    return factory.updateInterfaceDeclaration(
      ...([node, modifiers, name, typeParameters, heritageClauses, sorted(members)] as const),
    );
  };
  return ts.visitEachChild(root, visit, context);
}

function literalsOf(program: ts.Program, typeName: string): readonly string[] {
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(entry);
  const module = source && checker.getSymbolAtLocation(source);
  const symbol = module && checker.getExportsOfModule(module).find(({ name }) => name === typeName);
  if (!symbol) throw new TypeError(`${libraryEntry} must export ${typeName}`);
  const isAlias = (symbol.flags & ts.SymbolFlags.Alias) !== 0;
  const type = checker.getDeclaredTypeOfSymbol(isAlias ? checker.getAliasedSymbol(symbol) : symbol);
  return (type.isUnion() ? type.types : [type]).map((each) => {
    if (!each.isStringLiteral()) throw new TypeError(`${typeName} must be a union of texts`);
    return each.value;
  });
}
