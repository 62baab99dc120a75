// Rules that catch faults and keep the design; layout is prettier's, imports between parts are dependency-cruiser's.
import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

const noEnum = {
  selector: 'TSEnumDeclaration',
  message: 'Use a union of strings instead of an enum.',
};
const noDefaultExport = {
  selector: 'ExportDefaultDeclaration',
  message: 'Use a named export; only config files export a default.',
};
const noSleep = {
  selector:
    'NewExpression[callee.name="Promise"] CallExpression[callee.name="setTimeout"][arguments.0.type="Identifier"]',
  message: 'Tests do not sleep: wait for a condition with until(), or move a fake clock.',
};

/** Waits and races live in one file, with their timers and listeners cleaned up. */
const inWaiting = 'in src/base/waiting.ts, which cleans up timers and listeners; use one of its functions.';
const noRace = {
  selector: 'CallExpression[callee.object.name="Promise"][callee.property.name="race"]',
  message: `Races are ${inWaiting}`,
};
const noTimedPromise = {
  selector: 'NewExpression[callee.name="Promise"] CallExpression[callee.name="setTimeout"]',
  message: `Waits are ${inWaiting}`,
};
const noTimersPromises = { name: 'node:timers/promises', message: `Waits are ${inWaiting}` };

const noEnv = {
  object: 'process',
  property: 'env',
  message: 'Only src/config/load.ts reads the environment; take a setting instead.',
};
const noExit = {
  object: 'process',
  property: 'exit',
  message: 'Only src/main.ts and src/base/lifecycle.ts end the process; return or throw instead.',
};

export default defineConfig(
  { ignores: ['dist/', 'coverage/', 'node_modules/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },

  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, allowDefaultCaseForExhaustiveSwitch: true },
      ],
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowNever: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { inheritedMethods: false } }],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      '@typescript-eslint/no-extraneous-class': [
        'error',
        { allowStaticOnly: true, allowWithDecorator: true },
      ],
      // The driver takes plain objects where its types name a class, and we have no enums.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
      // An async function without await turns its throws into rejections; that is often the point.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/unified-signatures': 'off',
      '@typescript-eslint/no-dynamic-delete': 'off',
    },
  },

  {
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-restricted-syntax': ['error', noEnum, noDefaultExport],
      'no-self-compare': 'error',
      'no-template-curly-in-string': 'error',
      'no-unreachable-loop': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'preserve-caught-error': 'error',
    },
  },

  {
    files: ['src/**/*.ts'],
    rules: {
      'no-console': 'error',
      'no-restricted-properties': ['error', noEnv, noExit],
      'no-restricted-imports': [
        'error',
        {
          paths: [
            ...['node:process', 'process'].map((name) => ({ name, message: 'Use the global process.' })),
            noTimersPromises,
          ],
        },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/base/waiting.ts'],
    rules: { 'no-restricted-syntax': ['error', noEnum, noDefaultExport, noRace, noTimedPromise] },
  },
  { files: ['src/config/load.ts'], rules: { 'no-restricted-properties': ['error', noExit] } },
  {
    files: ['src/main.ts', 'src/base/lifecycle.ts'],
    rules: { 'no-restricted-properties': ['error', noEnv] },
  },

  {
    files: ['test/**/*.ts', 'simulator/**/*.ts', 'demo/**/*.ts', 'bench/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-empty-function': 'off',
    },
  },
  {
    files: ['test/**/*.test.ts', 'simulator/test/*.test.ts'],
    rules: {
      'no-restricted-syntax': ['error', noEnum, noDefaultExport, noSleep],
      'no-restricted-imports': [
        'error',
        { paths: [{ name: 'node:timers/promises', message: noSleep.message }] },
      ],
    },
  },

  {
    files: ['**/*.{js,cjs,mjs}'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        module: 'writable',
        require: 'readonly',
        __dirname: 'readonly',
        URL: 'readonly',
        fetch: 'readonly',
        AbortSignal: 'readonly',
      },
    },
  },
  { files: ['*.config.{js,ts}', '.*.cjs'], rules: { 'no-restricted-syntax': ['error', noEnum] } },
);
