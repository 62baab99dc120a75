// Who may import whom: docs/architecture.md in rules. Run by .ci/check-imports.mjs, which also sees to it that every
// file was looked at.

const parts = ['cli', 'http', 'metrics', 'requests', 'schedule', 'store', 'stripe', 'sync'];

/** Nothing in `part` imports any of `others`, not even a type. */
function apart(part, others, comment) {
  return {
    name: `${part}-knows-its-place`,
    comment,
    severity: 'error',
    from: { path: `^src/${part}/` },
    to: { path: `^src/(${others.join('|')})/` },
  };
}

/** Only files that match `owner` import the npm packages, not even for a type. */
function onlyIn(packages, owner, comment) {
  return {
    name: `${packages[0]}-only-there`,
    comment,
    severity: 'error',
    from: { path: '^src/', pathNot: owner },
    to: { path: packages.map((name) => `^(node_modules/)?(@types/)?${name}(/|$)`) },
  };
}

const allBut = (...names) => parts.filter((part) => !names.includes(part));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    apart('sync', allBut('sync'), 'sync names the ports it needs; others implement them.'),
    apart('requests', allBut('requests', 'sync'), 'requests knows sync and nothing else.'),
    apart('schedule', allBut('schedule', 'requests'), 'schedule knows requests and nothing else.'),
    apart('resources', allBut('sync', 'stripe'), 'A kind of Stripe object is a declaration.'),
    ...['stripe', 'store', 'metrics', 'http'].map((part) =>
      apart(
        part,
        allBut(part, 'sync', 'requests'),
        'stripe, store, metrics and http implement ports, apart from each other.',
      ),
    ),
    {
      name: 'only-the-root-knows-all',
      comment: 'daemon.ts composes the parts; nobody but the entry points imports it, or an entry point.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(main|daemon|index)\\.ts$|^src/cli/' },
      to: { path: '^src/(main|daemon|index)\\.ts$|^src/cli/' },
    },

    onlyIn(
      ['mongoose', 'mongodb'],
      '^src/(store|requests|schedule|cli)/|^src/(collections|daemon|migration|mongo-database|mongo-faults|services|stripe-customer-action)\\.ts$',
      'The mirror is behind src/store; the queue and its schedule are MongoDB through and through.',
    ),
    onlyIn(['stripe'], '^src/(stripe|resources)/', "Stripe's SDK is behind src/stripe."),
    {
      name: 'resources-type-only-stripe',
      comment: "A resource may name the SDK's types, never call it.",
      severity: 'error',
      from: { path: '^src/resources/' },
      to: { path: '^(node_modules/)?stripe(/|$)', dependencyTypesNot: ['type-only'] },
    },
    onlyIn(['prom-client'], '^src/metrics/', 'Metrics are behind src/metrics.'),
    onlyIn(['node-cron'], '^src/schedule/', 'Cron is behind src/schedule.'),
    onlyIn(['commander', 'cli-progress'], '^src/cli/', 'The command line is behind src/cli.'),

    {
      name: 'no-test-code-in-product',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|demo|bench|docs)/' },
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
