// The layout of docs/folders.yaml as rules: which folder imports which, through which doors, and who may use which package.
// Run by .ci/check-imports.mjs, which also makes sure that every file was looked at.
const { readFileSync } = require('node:fs');
const { parse } = require('yaml');

/** @type {{ folder: string, imports: string[], packages: string[], doors: string[] }[]} */
const folders = parse(readFileSync(`${__dirname}/docs/folders.yaml`, 'utf8'));
const names = folders.map(({ folder }) => folder);

/** What an entry is in paths; `root` are the files in src itself. */
const within = (folder) => (folder === 'root' ? 'src/[^/]+\\.ts$' : `src/${folder}/`);
const anyOf = (paths) => (paths.length === 0 ? '^$' : `^(${paths.join('|')})`);
const doorOf = (folder) => (door) => `${folder === 'root' ? 'src' : `src/${folder}`}/${door}\\.ts$`;
const allDoors = folders.flatMap(({ folder, doors }) => doors.map(doorOf(folder)));
const packagePath = (name) => `(node_modules/)?(@types/)?${name}(/|$)`;

/** A folder imports what the table lists, and of that only doors. */
const layout = folders.flatMap(({ folder, imports, packages }) => [
  {
    name: `${folder}-knows-its-place`,
    comment: `docs/folders.yaml lists what ${folder} may import.`,
    severity: 'error',
    from: { path: `^${within(folder)}` },
    to: { path: '^src/', pathNot: anyOf([folder, ...imports].map(within)) },
  },
  {
    name: `${folder}-by-its-doors`,
    comment: `docs/folders.yaml lists the doors of ${folder}; enter by one of them.`,
    severity: 'error',
    from: { pathNot: `^${within(folder)}` },
    to: { path: `^${within(folder)}`, pathNot: anyOf(allDoors) },
  },
  {
    name: `${folder}-packages`,
    comment: `docs/folders.yaml lists the packages that ${folder} may use.`,
    severity: 'error',
    from: { path: `^${within(folder)}` },
    to: {
      dependencyTypesNot: ['core', 'local', 'localmodule'],
      path: '.',
      pathNot: anyOf(['src/', 'package\\.json', ...packages.map(packagePath)]),
    },
  },
]);

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...layout,
    {
      name: 'every-folder-is-listed',
      comment: 'A new folder of src needs a line in docs/folders.yaml.',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: anyOf(names.map(within)) },
      to: {},
    },
    {
      name: 'resources-type-only-stripe',
      comment: "A resource may name the SDK's types, never call it.",
      severity: 'error',
      from: { path: '^src/resources/' },
      to: { path: '^(node_modules/)?stripe(/|$)', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-test-code-in-product',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(simulator|test|demo|bench|docs)/' },
    },
    {
      name: 'simulator-stands-alone',
      comment: 'The simulator knows Stripe, and nothing of what is tested against it.',
      severity: 'error',
      from: { path: '^simulator/' },
      to: { path: '^(src|test|demo|bench|docs)/' },
    },
    {
      name: 'simulator-by-its-door',
      severity: 'error',
      from: { path: '^(test|demo|bench|docs)/' },
      to: { path: '^simulator/', pathNot: '^simulator/src/index\\.ts$' },
    },
    {
      name: 'no-undeclared-package-in-product',
      comment: 'What src imports must be installed with the package.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-import'] },
    },
    {
      name: 'no-cycles',
      comment: 'Types may refer to each other, modules may not.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, path: '^src/', pathNot: '^src/(main|index)\\.ts$|\\.d\\.ts$' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types'],
    },
  },
};
