/**
 * Lets Stryker try a random share of the mutants. MUTATION_SHARE is the share (0 to 1, default 0.1) and MUTATION_SEED makes
 * another choice. The others are reported as invalid, which leaves them out of the score.
 */
import { createHash } from 'node:crypto';
import { relative } from 'node:path';
import { declareClassPlugin, declareValuePlugin, PluginKind } from '@stryker-mutator/api/plugin';

const { MUTATION_SEED = '1', MUTATION_SHARE = '0.1' } = process.env;

function isChosen({ fileName, location, replacement }) {
  const where = relative(process.cwd(), fileName).replace(/^.*?(?=src\/)/, '');
  const digest = createHash('sha256').update(JSON.stringify([MUTATION_SEED, where, location, replacement])).digest();
  return digest.readUInt32BE() / 2 ** 32 < Number(MUTATION_SHARE);
}

class Sample {
  async init() {}

  async check(mutants) {
    const verdict = (mutant) => (isChosen(mutant) ? { status: 'passed' } : { status: 'compileError', reason: 'not in the sample' });
    return Object.fromEntries(mutants.map((mutant) => [mutant.id, verdict(mutant)]));
  }

  async group(mutants) {
    return [mutants.map(({ id }) => id)];
  }
}

/** The name of a statement and the wording of a log line are for people: no test may depend on them. */
const words = {
  shouldIgnore({ node, parent, key, listKey }) {
    if (node.type !== 'StringLiteral' || parent?.type !== 'CallExpression' || listKey !== 'arguments') return undefined;
    const method = parent.callee.property?.name;
    if (method === 'prepare' && key === 0) return 'the name of a statement';
    if (['info', 'warn', 'error', 'fatal', 'debug'].includes(method) && key > 0) return 'the wording of a log line';
    return undefined;
  },
};

export const strykerPlugins = [
  declareClassPlugin(PluginKind.Checker, 'sample', Sample),
  declareValuePlugin(PluginKind.Ignore, 'words', words),
];
