import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../support/app.ts';

const run = promisify(execFile);
const MODEL = join(import.meta.dirname, 'rotation.pml');
const MISSING = ['/usr/bin/spin', '/usr/bin/cc'].filter((program) => !existsSync(program));

/** A suite that needs Spin and a C compiler. Where one is missing it is skipped, and its name says why. */
const describeWithSpin = (name: string, tests: () => void) => MISSING.length === 0
  ? describe(name, tests)
  : describe.skip(`${name} (skipped: there is no ${MISSING.join(' and no ')})`, tests);

/**
 * Lets Spin write a checker for the model with these settings, compiles it, and runs it. `exhaustive` is the search of
 * every state; otherwise the search goes by distance, so that the counter-example is a shortest one.
 */
async function check(settings: string[], search: 'exhaustive' | 'shortest') {
  const cwd = temporaryFolder();
  const flags = settings.map((setting) => `-D${setting}`);
  await run('spin', ['-a', ...flags, MODEL], { cwd });
  const mode = search === 'shortest' ? ['-DBFS'] : [];
  await run('cc', ['-O0', '-w', '-DSAFETY', '-DMEMLIM=2048', ...mode, '-o', 'pan', 'pan.c'], { cwd });
  const { stdout } = await run('./pan', ['-n', ...(search === 'shortest' ? [] : ['-m4000000'])], { cwd });
  return {
    output: stdout,
    errors: Number(/errors: (\d+)/.exec(stdout)?.[1]),
    states: Number(/(\d+) states, stored/.exec(stdout)?.[1]),
    complete: !/max search depth too small|reached -DMEMLIM|Search not completed/.test(stdout),
    /** The property that failed, as the checker writes it, and how long the shortest way there is. */
    violated: /assertion violated (.+) \(at depth \d+\)/.exec(stdout)?.[1] ?? null,
  };
}

describeWithSpin('the model of the rotation: Spin tries every order of events, and finds no error', () => {
  test.each([
    ['two tabs, in half graces', ['TABS=2', 'LAST=5', 'GRACE=2'], 761_634],
    ['three tabs, in whole graces', ['TABS=3', 'LAST=4', 'GRACE=1'], 2_646_267],
    ['one tab and a thief, in half graces', ['TABS=1', 'LAST=6', 'GRACE=2', 'THIEF'], 459_636],
    ['two tabs and a thief, in whole graces', ['TABS=2', 'LAST=4', 'GRACE=1', 'THIEF'], 1_293_061],
    ['one tab, a thief, and an operator who rolls keys', ['TABS=1', 'LAST=5', 'GRACE=2', 'THIEF', 'KEYS'], 630_817],
    ['two tabs, and a database that loses commits', ['TABS=2', 'LAST=4', 'GRACE=1', 'RESTORE'], 487_149],
    ['one tab, a thief, and a database that loses commits', ['TABS=1', 'LAST=4', 'GRACE=1', 'THIEF', 'RESTORE'], 262_276],
    ['a window that is over at exactly one grace, which is as good', ['TABS=1', 'LAST=6', 'GRACE=2', 'THIEF', 'WINDOW_GE'], 464_165],
    ['the same with two tabs', ['TABS=2', 'LAST=5', 'GRACE=2', 'WINDOW_GE'], 949_489],
  ])('%s', async (_name, settings, states) => {
    const result = await check(settings, 'exhaustive');
    expect(result, result.output).toMatchObject({ errors: 0, complete: true, states });
  });
});

describeWithSpin('the model of the rotation: Spin finds a counter-example', () => {
  const tabs = ['TABS=2', 'LAST=5', 'GRACE=2'];
  const thief = ['TABS=1', 'LAST=6', 'GRACE=2', 'THIEF'];
  const restore = ['TABS=1', 'LAST=4', 'GRACE=1', 'RESTORE'];
  const ownerIsAnswered = 'promised';
  const oldTokenEnds = 'age<=';
  const endedIsSilent = '!(over)';
  const forgedIsRefused = '!(forged)';
  const aheadIsRefused = 'token<=row.generation';

  test.each([
    ['one window: runs of quick rotations are excused without end', [...thief, 'ONE_WINDOW'], oldTokenEnds],
    ['no pause: a token from before a long pause is excused', [...thief, 'NO_PAUSE'], oldTokenEnds],
    ['only the current window is excused', [...tabs, 'NO_PREVIOUS_WINDOW'], ownerIsAnswered],
    ['>= for > where a pause begins', [...tabs, 'PAUSE_GE'], ownerIsAnswered],
    ['< for <= where the grace ends', [...tabs, 'EXCUSE_LT'], ownerIsAnswered],
    ['> for >= where the previous window begins', [...tabs, 'EXCUSE_GT'], ownerIsAnswered],
    ['the hash left out of the WHERE', [...thief, 'NO_HASH'], oldTokenEnds],
    ['a repeat that writes rotated_at', [...thief, 'REPEAT_WRITES'], oldTokenEnds],
    ['reuse that ends nothing', [...thief, 'NO_REVOKE'], 'row.ended'],
    ['an ended session that rotates', [...thief, 'NO_LIVE_IN_UPDATE'], endedIsSilent],
    ['an ended session that repeats', [...thief, 'NO_LIVE_IN_SELECT'], endedIsSilent],
    ['no MAC', [...thief, 'NO_MAC'], forgedIsRefused],
    ['a token ahead of its row counts as reuse', [...restore, 'AHEAD_IS_REUSE'], aheadIsRefused],
    ['a retry that fails is answered as the end of the session',
      ['TABS=2', 'LAST=4', 'GRACE=1', 'RESTORE', 'ONE_RETRY'], '(over||('],
    ['a bound a little below four graces', [...thief, 'BOUND=7'], oldTokenEnds],
    ['no premise about the owner’s delays', [...tabs, 'ANY_DELAY'], ownerIsAnswered],
  ])('%s', async (_name, settings, violated) => {
    const result = await check(settings, 'shortest');
    expect(result.violated, result.output).toContain(violated);
  });
});
