import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { User } from '../store/users.ts';
import type { Core } from './core.ts';
import { randomId } from './refresh-tokens.ts';

/** That an account was once signed in to from this device: `<id>.<day>.<key id>.<signature>`, and the account is named only in what is signed. */
export type DeviceMark = { id: string; day: number; keyId: string; signature: string };

const FORMAT = /^([\w-]{22})\.(\d{5})\.([\w-]{12})\.([\w-]{43})$/;
const DAY_MS = 86_400_000;

/** Accounts that a device is known to, at most; the store looks up one throttle more. */
const MAX_MARKS = 4;
/** As long as browsers keep a cookie. */
export const MARK_DAYS = 400;

/** The marks in a device cookie's values, the newest first, without those that are too old; of what else is in them, nothing. Clocks of copies may differ a little. */
export function parseMarks({ now }: Pick<Core, 'now'>, values: string[]): DeviceMark[] {
  const today = dayOf(now());
  const texts = new Set(values.flatMap((value) => value.split('~')));
  return [...texts].flatMap((text) => parseMark(text) ?? [])
    .filter(({ day }) => day <= today + 1 && day > today - MARK_DAYS)
    .sort((a, b) => b.day - a.day).slice(0, MAX_MARKS);
}

function parseMark(text: string): DeviceMark | null {
  const [, id, day, keyId, signature] = FORMAT.exec(text) ?? [];
  return id && day && keyId && signature ? { id, day: Number(day), keyId, signature } : null;
}

/** A device cookie's value: a new mark for the account in place of its older one, and those of other accounts that the device had. */
export function addMark(core: Pick<Core, 'config' | 'now'>, marks: DeviceMark[], user: User): string {
  const [{ id: keyId, deviceKey }] = core.config.secrets.derivedKeys;
  const mark = { id: randomId(), day: dayOf(core.now()), keyId };
  const others = marks.filter((each) => !isMarkOf(core, each, user));
  return [{ ...mark, signature: sign(deviceKey, mark, user) }, ...others].slice(0, MAX_MARKS).map(formatMark).join('~');
}

/**
 * The device's mark of the account (OWASP: device cookies). It holds until the password is changed, so that a device of
 * somebody who knew the old one is a stranger's. Without an account there is none, after the same work.
 */
export function findMark(core: Pick<Core, 'config'>, marks: DeviceMark[], user: User | undefined): DeviceMark | undefined {
  return marks.filter((mark) => isMarkOf(core, mark, user))[0];
}

function isMarkOf(core: Pick<Core, 'config'>, mark: DeviceMark, user: User | undefined): boolean {
  const key = core.config.secrets.derivedKeys.find(({ id }) => id === mark.keyId);
  if (!key) return false;
  const expected = sign(key.deviceKey, mark, user ?? { id: '', passwordChangedAt: 0 });
  return timingSafeEqual(Buffer.from(mark.signature), Buffer.from(expected)) && user !== undefined;
}

function sign(deviceKey: KeyObject, { id, day }: Pick<DeviceMark, 'id' | 'day'>, { id: userId, passwordChangedAt }: Pick<User, 'id' | 'passwordChangedAt'>): string {
  return createHmac('sha256', deviceKey).update(`${id}|${day}|${userId}|${passwordChangedAt}`).digest('base64url');
}

function formatMark({ id, day, keyId, signature }: DeviceMark): string {
  return `${id}.${day}.${keyId}.${signature}`;
}

function dayOf(time: number): number {
  return Math.floor(time / DAY_MS);
}
