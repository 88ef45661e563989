import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRefreshToken } from '../src/core/refresh-tokens.ts';
import {
  anyone, cookieOf, PASSWORD, problemOf, startApp, temporaryFolder, type TestApp, tokensOf,
} from './support/app.ts';
import { runs, spans, timeout } from './support/fast-check.ts';
import { type Outcome, RotationRule } from './support/rotation-rule.ts';

const OLD_KEY = 'Zmlyc3Qta2V5LW9mLXRoZS10ZXN0LTEyMzQ1Njc4OTA';
const NEW_KEY = 'c2Vjb25kLWtleS1vZi10aGUtdGVzdC0xMjM0NTY3ODk';
const TABS = 3;

/** Copies of the server on one database while keys are rolled: the last does not know the sessions' key any more. */
async function startCopies(graceSeconds: number): Promise<TestApp[]> {
  const env = { DATA_DIR: temporaryFolder(), REFRESH_GRACE_SECONDS: String(graceSeconds) };
  const copies = [];
  for (const SECRET_KEY of [OLD_KEY, `${NEW_KEY},${OLD_KEY}`, NEW_KEY]) {
    copies.push(await startApp({ ...env, SECRET_KEY }));
  }
  return copies;
}
const KNOWS_THE_KEY = [true, true, false];

const tab = fc.nat(TABS - 1);
const copy = fc.constantFrom(0, 0, 0, 1, 1, 2);
/** How many generations behind the current token. */
const behind = fc.nat(6);

const beside = fc.constantFrom(-1, 0, 1);
/** So many graces after the token was superseded. */
const limit = fc.constantFrom(1, 1, 2, 3, 4);

const events = (graceMs: number) => fc.array(fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: spans(graceMs) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('set the clock back' as const), ms: spans(graceMs), times: fc.integer({ min: 1, max: 3 }),
    }),
  },
  // a tab sends what the jar holds; its request arrives; its answer arrives, or is lost
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('send' as const), tab }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('arrive' as const), tab, copy }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('answer' as const), tab }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('lose' as const), tab }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('refresh' as const), copy }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('race' as const), requests: fc.integer({ min: 2, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('steal' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('use' as const), copy, keeps: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('follow' as const), times: fc.integer({ min: 1, max: 8 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('pace' as const), times: fc.integer({ min: 1, max: 6 }), beside }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('present' as const), copy, behind }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('present at the limit' as const), behind, graces: limit, beside }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('cookies' as const), copy, behind: fc.array(behind, { maxLength: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('forge' as const), copy, behind }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('sign out' as const), copy, behind }) },
), { minLength: 1, maxLength: 40, size: 'max' });
type Event = (ReturnType<typeof events> extends fc.Arbitrary<(infer E)[]> ? E : never);

/** One session, the rule beside it, and everybody who holds one of its tokens. */
class History {
  readonly copies: TestApp[];
  readonly rule: RotationRule;
  now: number;
  clockWasSetBack = false;
  /** The tokens' texts, by generation. */
  readonly tokens: string[];
  jar = 0;
  loot: number | null = null;
  readonly sent: (number | null)[] = [];
  readonly answered: (number | null)[] = [];

  constructor(copies: TestApp[], now: number, graceMs: number, first: string) {
    this.copies = copies;
    this.now = now;
    this.rule = new RotationRule(graceMs, now);
    this.tokens = [first];
  }

  static async begin(copies: TestApp[], graceMs: number): Promise<History> {
    const now = copies[0]!.clock.now + 10 * graceMs;
    moveClocks(copies, now);
    return new History(copies, now, graceMs, (await copies[0]!.register(anyone(), PASSWORD)).refreshToken);
  }

  wait(ms: number): void {
    this.now += ms;
    moveClocks(this.copies, this.now);
  }

  /** Sends tokens as cookies; compares the answer and the row with the rule. Returns the token of the answer. */
  async present(copy: number, generations: number[], forgeries: string[] = []): Promise<number | null> {
    const before = await this.row();
    const newest = Math.max(...generations);
    const expected = KNOWS_THE_KEY[copy] && generations.length > 0 ? this.expect(newest) : 'refused';
    const texts = [...forgeries, ...generations.map((generation) => this.tokens[generation]!)];
    const cookie = texts.map((text) => `refresh_token=${text}`).join('; ');
    const answer = await this.copies[copy]!.post('/auth/refresh', undefined, { cookie });
    const after = await this.row();
    if (expected === 'rotated') {
      this.tokens.push(cookieOf(answer)?.value ?? '');
      expect(after).toMatchObject({ ...this.rule.row, revokedAt: null });
    } else if (expected === 'reused') {
      expect(after).toEqual({ ...before, revokedAt: this.now, revokedReason: 'refresh_token_reused' });
    } else {
      expect(after, `${expected}: nothing is written`).toEqual(before);
    }
    if (expected === 'rotated' || expected === 'repeated') {
      expect([answer.statusCode, cookieOf(answer)?.value]).toEqual([200, this.tokens.at(-1)]);
      return this.rule.current;
    }
    expect(problemOf(answer)).toBe(REFUSALS[expected]);
    expect(cookieOf(answer)?.value, 'the cookie of the answer').toBe(expected === 'refused' ? undefined : '');
    return null;
  }

  /** What the rule answers, after a look at what it promises whatever the windows are. */
  expect(token: number): Outcome {
    const { graceMs, ended } = this.rule;
    const supersededAt = this.rule.supersededAt[token];
    const outcome = this.rule.present(token, this.now);
    if (!ended && supersededAt !== undefined && !this.clockWasSetBack) {
      const age = this.now - supersededAt;
      if (graceMs > 0 && age <= graceMs) expect(outcome).toBe('repeated');
      if (graceMs === 0 || age > 4 * graceMs) expect(outcome).toBe('reused');
    }
    return outcome;
  }

  async row() {
    const { sessionId } = parseRefreshToken(this.tokens[0]!)!;
    return (await this.copies[0]!.app.store.sessions.find(sessionId))!.session;
  }

  /** The generation so many behind the current one. */
  generation(behind: number): number {
    return Math.max(0, this.rule.current - behind);
  }

  forgery(generation: number): string {
    return `${this.tokens[generation]!.slice(0, -22)}${randomBytes(16).toString('base64url')}`;
  }
}

const REFUSALS = {
  refused: '401 refresh_token_invalid', reused: '401 refresh_token_reused', ended: '401 session_ended',
};

function moveClocks(copies: TestApp[], now: number): void {
  for (const copy of copies) copy.clock.now = now;
}

async function happen(history: History, event: Event): Promise<void> {
  const { rule } = history;
  switch (event.kind) {
    case 'wait':
      history.wait(event.ms);
      return;
    case 'set the clock back':
      history.clockWasSetBack = true;
      for (let time = 0; time < event.times; time += 1) {
        history.wait(-event.ms);
        history.jar = (await history.present(0, [history.jar])) ?? history.jar;
      }
      return;
    case 'send':
      history.sent[event.tab] = history.jar;
      return;
    case 'arrive': {
      const token = history.sent[event.tab];
      if (token == null) return;
      history.sent[event.tab] = null;
      history.answered[event.tab] = await history.present(event.copy, [token]);
      return;
    }
    case 'answer':
      history.jar = history.answered[event.tab] ?? history.jar;
      history.answered[event.tab] = null;
      return;
    case 'lose':
      history.sent[event.tab] = history.answered[event.tab] = null;
      return;
    case 'refresh':
      history.jar = (await history.present(event.copy, [history.jar])) ?? history.jar;
      return;
    case 'race': return race(history, event.requests);
    case 'steal':
      history.loot = history.jar;
      return;
    case 'use': {
      const taken = history.loot === null ? null : await history.present(event.copy, [history.loot]);
      if (!event.keeps) history.loot = taken ?? history.loot;
      return;
    }
    case 'follow':
      for (let time = 0; time < event.times && history.loot !== null; time += 1) {
        history.wait(Math.max(0, rule.graceMs - 1));
        history.loot = (await history.present(0, [history.loot])) ?? history.loot;
      }
      return;
    case 'pace':
      for (let time = 0; time < event.times; time += 1) {
        history.wait(Math.max(0, rule.graceMs + event.beside));
        history.jar = (await history.present(0, [history.jar])) ?? history.jar;
      }
      return;
    case 'present at the limit': {
      const token = history.generation(event.behind);
      const at = (rule.supersededAt[token] ?? history.now) + event.graces * rule.graceMs + event.beside;
      history.wait(Math.max(0, at - history.now));
      await history.present(0, [token]);
      return;
    }
    case 'present':
      await history.present(event.copy, [history.generation(event.behind)]);
      return;
    case 'cookies': {
      const generations = [...new Set(event.behind.map((behind) => history.generation(behind)))];
      await history.present(event.copy, generations, [history.forgery(0), 'x']);
      return;
    }
    case 'forge':
      await history.present(event.copy, [], [history.forgery(history.generation(event.behind))]);
      return;
    case 'sign out': return signOut(history, event.copy, history.generation(event.behind));
  }
}

/** So many requests at the same moment, with the token in the jar, if the rule answers that one. */
async function race(history: History, requests: number): Promise<void> {
  const { rule, now, jar } = history;
  if (rule.graceMs === 0 || rule.ended || (jar !== rule.current && !rule.isExcused(jar, now))) return;
  rule.present(jar, now);
  const answers = await Promise.all(Array.from({ length: requests }, (_, request) =>
    history.copies[request % 2]!.refresh(history.tokens[jar]!)));
  const [token, ...others] = new Set(answers.map((answer) => tokensOf(answer).refreshToken));
  expect(others).toEqual([]);
  history.tokens[rule.current] ??= token!;
  expect(token).toBe(history.tokens[rule.current]);
  history.jar = rule.current;
}

async function signOut(history: History, copy: number, token: number): Promise<void> {
  const { rule } = history;
  const answer = await history.copies[copy]!.post('/auth/logout', { refresh_token: history.tokens[token]! });
  expect(answer.statusCode).toBe(200);
  if (KNOWS_THE_KEY[copy]) rule.ended = true;
  expect((await history.row()).revokedAt !== null).toBe(rule.ended);
}

describe('random histories of tabs, lost answers, a thief, forgeries, sign-outs and rolled keys', () => {
  test.each([30, 2, 0])('at a grace of %i s every answer and every row is what the rule says', async (graceSeconds) => {
    const graceMs = graceSeconds * 1000;
    const copies = await startCopies(graceSeconds);
    await fc.assert(fc.asyncProperty(events(graceMs || 1000), async (history) => {
      const session = await History.begin(copies, graceMs);
      for (const event of history) await happen(session, event);
    }), runs(60));
  }, timeout);
});
