import tseslint from 'typescript-eslint';

const only = (message, ...selectors) => selectors.map((selector) => ({ selector, message }));

const everywhere = [
  ...only('SQL is never put together from text (ASVS 1.2.4)', "MemberExpression[object.name='sql'][property.name=/^(raw|identifier)$/]"),
  ...only('a regular expression is never made from a variable (ASVS 1.2.9)', "NewExpression[callee.name='RegExp'][arguments.0.type!='Literal']"),
];
const environment = only('config.ts is the only reader of process.env', "MemberExpression[object.name='process'][property.name='env']");
const clock = only('time comes from now()', "CallExpression[callee.object.name='Date'][callee.property.name='now']", "NewExpression[callee.name='Date'][arguments.length=0]");

/** Every file that uses cryptography; src/README.md, Keys and cryptography, says for what (ASVS 11.1.3). */
const CRYPTOGRAPHY = [
  'src/app.ts',
  'src/core/breaches.ts',
  'src/core/decoys.ts',
  'src/core/devices.ts',
  'src/core/old-hash-functions.ts',
  'src/core/one-time-tokens.ts',
  'src/core/refresh-tokens.ts',
  'src/core/registrants.ts',
  'src/core/stored-hashes.ts',
  'src/core/throttle.ts',
  'src/plugins/access-tokens.ts',
  'src/plugins/docs.ts',
  'src/plugins/documents.ts',
  'src/plugins/problems.ts',
  'src/routes/pages.ts',
  'src/secrets.ts',
  'src/store/move.ts',
  'src/store/seen.ts',
];
const message = 'cryptography is used in a few files: add this one to CRYPTOGRAPHY and to the inventory in src/README.md (ASVS 11.1.3)';

/** The walls of the house: which folder may not import what. */
const wall = (files, patterns) => ({
  files: [files],
  rules: { '@typescript-eslint/no-restricted-imports': ['error', { patterns: patterns.map((regex) => ({ regex, allowTypeImports: false })) }] },
});

export default tseslint.config(
  { ignores: ['node_modules', 'coverage', 'data', 'drizzle'] },
  { files: ['**/*.ts'], extends: [tseslint.configs.strictTypeChecked], languageOptions: { parserOptions: { projectService: true } } },
  {
    files: ['**/*.ts'],
    rules: {
      'no-eval': 'error',
      'no-new-func': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-restricted-syntax': ['error', ...everywhere],
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidOperator: true, ignoreVoidReturningFunctions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'error',
    },
  },
  { files: ['src/**/*.ts'], rules: { 'no-restricted-syntax': ['error', ...everywhere, ...environment] } },
  { files: ['src/core/**/*.ts'], rules: { 'no-restricted-syntax': ['error', ...everywhere, ...environment, ...clock] } },
  { files: ['src/server.ts', 'src/cli.ts'], rules: { 'no-restricted-syntax': ['error', ...everywhere] } },
  {
    files: ['src/**/*.ts'],
    ignores: CRYPTOGRAPHY,
    rules: { 'no-restricted-imports': ['error', { paths: ['node:crypto', 'crypto'].map((name) => ({ name, message })) }] },
  },
  wall('src/core/**/*.ts', ['^fastify', '^@fastify', '^drizzle-orm', '/plugins/', '/routes/']),
  wall('src/store/**/*.ts', ['^fastify', '^@fastify', '/core/', '/plugins/', '/routes/']),
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-non-null-assertion': 'off', '@typescript-eslint/no-unsafe-assignment': 'off' } },
);
