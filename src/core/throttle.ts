import { createHmac } from 'node:crypto';
import type { Step } from '../store/db.ts';
import type { Purpose } from '../store/one-time-tokens.ts';
import { furthestTimes, type Policy, type Throttle } from '../store/throttles.ts';
import type { User } from '../store/users.ts';
import type { Core, MarkedDevice } from './core.ts';
import { findMark } from './devices.ts';
import { normalizeEmail } from './identifiers.ts';
import { PasswordQueueFull } from './hash-queue.ts';
import { inTurn } from './turns.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const MAIL: Policy = { free: 3, pauseMs: 15 * MINUTE_MS, longestPauseMs: DAY_MS, limit: Number.MAX_SAFE_INTEGER, forgetMs: DAY_MS };
const PURPOSES: Purpose[] = ['reset_password', 'verify_email'];

type MailKind = `mail ${Purpose}` | `mail ${Purpose} from known devices` | 'mail reset_password to nobody';
type Kind = 'email' | 'username' | 'device' | 'session' | 'link' | MailKind;

/** Where attempts are counted together, and what is counted there; `counted` is undefined where there were none. */
export type Bucket = { key: string; counted: Throttle | undefined };

export type AttemptResult =
  | { outcome: 'right' }
  | { outcome: 'wrong' }
  /** too many were wrong: the password was not looked at */
  | { outcome: 'throttled'; retryAfterMs: number };

/** Keys by which a bucket may be named: two, because SECRET_KEY is rotated from one to the next. */
const NAMING_KEYS = 2;

/**
 * The names of a bucket, by the first keys: HMAC-SHA-256, so that the database shows nobody what was typed. They say nothing
 * of whether there is such an account, so that those that do not exist are throttled like those that do. There are two names
 * only while SECRET_KEY is rotated, when copies of the server disagree about which key is the first.
 */
export function bucketKeys({ config }: Pick<Core, 'config'>, kind: Kind, value: string): [string, ...string[]] {
  const names = config.secrets.derivedKeys.slice(0, NAMING_KEYS)
    .map(({ throttleKey }) => createHmac('sha256', throttleKey).update(`${kind}|${value}`).digest('base64url'));
  return names as [string, ...string[]];
}

/** The name by the first key. */
export function bucketKey(core: Pick<Core, 'config'>, kind: Kind, value: string): string {
  return bucketKeys(core, kind, value)[0];
}

/** The bucket under the name at which something is counted already, or else under the first: no rotation of keys forgets a count. */
export function chooseBucket(names: [string, ...string[]], throttles: Throttle[]): Bucket {
  const [counted] = throttles.filter(({ key }) => names.includes(key)).sort((a, b) => b.count - a.count);
  return { key: counted?.key ?? names[0], counted };
}

async function findBucket(core: Core, kind: Kind, value: string): Promise<Bucket> {
  const names = bucketKeys(core, kind, value);
  const throttles = core.config.throttle ? await Promise.all(names.map((name) => core.store.throttles.find(name))) : [];
  return chooseBucket(names, throttles.filter((each) => each !== undefined));
}

/**
 * Verifies a password, unless too many before it were wrong (NIST SP 800-63B-4 §3.2.2; ASVS 6.3.1). Attempts of one bucket
 * take turns in this process. One that finds nobody before it and nothing counted is counted when it was wrong; any other
 * is counted before it is verified, so that of many at once, in however many processes, no more than allowed are verified.
 * A right password forgets the wrong ones before it.
 * @throws PasswordQueueFull or HashNotComputed; then nothing is counted
 */
export async function attempt(core: Core, { key, counted }: Bucket, verify: () => Promise<boolean>): Promise<AttemptResult> {
  if (!core.config.throttle) return (await verify()) ? { outcome: 'right' } : { outcome: 'wrong' };
  const policy = loginPolicy(core.config.throttle.loginAttempts);
  const wait = waitFor(core, counted, policy);
  if (wait > 0) return { outcome: 'throttled', retryAfterMs: wait };
  const result = await inTurn(key, (alone) => (alone && !counted ? attemptFirst(core, key, policy, verify) : attemptCounted(core, key, policy, verify)));
  return result ?? { outcome: 'throttled', retryAfterMs: SECOND_MS };
}

async function attemptFirst(core: Core, key: string, policy: Policy, verify: () => Promise<boolean>): Promise<AttemptResult> {
  if (await verify()) return { outcome: 'right' };
  await core.store.throttles.count(key, core.now(), policy);
  return { outcome: 'wrong' };
}

async function attemptCounted(core: Core, key: string, policy: Policy, verify: () => Promise<boolean>): Promise<AttemptResult> {
  const { throttles } = core.store;
  if (!core.passwords.hasRoom()) throw new PasswordQueueFull();
  if (!(await throttles.take(key, core.now(), policy))) {
    return { outcome: 'throttled', retryAfterMs: waitFor(core, await throttles.find(key), policy) || SECOND_MS };
  }
  const fits = await verify().catch(async (error: unknown) => {
    await throttles.giveBack(key, core.now());
    throw error;
  });
  if (!fits) return { outcome: 'wrong' };
  await core.store.transact([throttles.clear(key)]);
  return { outcome: 'right' };
}

/** Wrong passwords, for each identifier, and for each device that is known to the account: five, then pauses that double up to an hour. */
function loginPolicy(limit: number): Policy {
  return { free: 5, pauseMs: SECOND_MS, longestPauseMs: HOUR_MS, limit, forgetMs: 30 * DAY_MS };
}

/** A pause that is longer than the longest was written by a clock that was ahead: it is over. */
function waitFor(core: Core, counted: Throttle | undefined, policy: Policy): number {
  if (!counted) return 0;
  const now = core.now();
  const { furthestPause, furthestExpiry } = furthestTimes(now, policy);
  const [until, furthest] = counted.count >= policy.limit ? [counted.expiresAt, furthestExpiry] : [counted.blockedUntil, furthestPause];
  return counted.expiresAt > furthestExpiry || until > furthest ? 0 : Math.max(0, until - now);
}

/**
 * Verifies the password of somebody who is signed in already. Attempts are counted by session, so that a stolen access
 * token neither guesses without end nor locks the owner out elsewhere.
 */
export async function confirmPassword(core: Core, user: User, sessionId: string, password: string): Promise<AttemptResult> {
  return attemptAt(core, 'session', sessionId, user, password);
}

/** Verifies the user's password; attempts are counted by what is named. */
export async function attemptAt(core: Core, kind: 'session' | 'link', value: string, user: User, password: string): Promise<AttemptResult> {
  return attempt(core, await findBucket(core, kind, value), () => core.passwords.verify(password, user.passwordHash, user.id));
}

/**
 * Counts a mail to an address; the step undoes the transaction when none is to go now: three at once, then pauses from a
 * quarter of an hour that double up to a day. Devices that are known to the account of that address have a bucket of
 * their own, so that strangers cannot use up its owner's mails; it is one for the address, so that whoever signs up with
 * another's address gains no more.
 *
 * Requests for a reset of an address without an account are counted apart, because they send no mail: when an account
 * takes the address, a pause always means that its mailbox got a link.
 */
export function takeMail(core: Core, purpose: Purpose, email: string, device: MarkedDevice, user: User | undefined): Step[] {
  if (!core.config.throttle) return [];
  const address = normalizeEmail(email);
  const known = findMark(core, device.marks, user) !== undefined && user?.email === address;
  const kind = known ? knownKind(purpose) : purpose === 'reset_password' && !user ? 'mail reset_password to nobody' : `mail ${purpose}` as const;
  return [core.store.throttles.takeStep(bucketKey(core, kind, address), core.now(), MAIL)];
}

/** The same for somebody who has shown that they read the mailbox: counted with the known devices. */
export function takeMailOfReader(core: Core, purpose: Purpose, email: string): Step[] {
  if (!core.config.throttle) return [];
  return [core.store.throttles.takeStep(bucketKey(core, knownKind(purpose), normalizeEmail(email)), core.now(), MAIL)];
}

function knownKind<P extends Purpose>(purpose: P) {
  return `mail ${purpose} from known devices` as const;
}

/** Milliseconds until strangers may have a mail sent to the address; a second at least. */
export async function waitForMail(core: Core, purpose: Purpose, address: string): Promise<number> {
  return waitFor(core, await core.store.throttles.find(bucketKey(core, `mail ${purpose}`, address)), MAIL) || SECOND_MS;
}

/** Forgets what was attempted with the user's identifiers: whoever has just proved to own the mailbox may begin anew. */
export function forgetAttempts(core: Core, { email, usernameKey }: User): Step[] {
  if (!core.config.throttle) return [];
  const ofAddress: Kind[] = ['email', ...PURPOSES.flatMap((purpose) => [`mail ${purpose}` as const, knownKind(purpose)])];
  const keys = [
    ...(email === null ? [] : ofAddress.flatMap((kind) => bucketKeys(core, kind, email))),
    ...(usernameKey === null ? [] : bucketKeys(core, 'username', usernameKey)),
  ];
  return keys.map((key) => core.store.throttles.clear(key));
}
