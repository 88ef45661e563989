import { FormatRegistry, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { isEmail, normalizeEmail, usernameKey } from '../core/identifiers.ts';
import { randomId } from '../core/refresh-tokens.ts';
import { findHashFault } from '../core/stored-hashes.ts';
import { Email, Username } from '../schemas.ts';
import type { User } from '../store/users.ts';

const MAX_ROLES_LENGTH = 1000;
const ROLE = /^[\w.:-]{1,64}$/;
/** Epoch times below this are seconds: as milliseconds they would lie before 1973. */
const SECONDS_BELOW = 100_000_000_000;
const DAY_MS = 86_400_000;
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))? ?(Z|[+-]\d\d(?::?\d\d)?)?)?$/i;

FormatRegistry.Set('email', (text) => isEmail(text));

class Fault extends Error {}

/** The user that the fields of a line make, or what is wrong with them, in words that repeat nothing of them. */
export function toNewUser(fields: Record<string, unknown>, now: number): { user: User } | { fault: string } {
  try {
    return { user: makeUser(fields, now) };
  } catch (error) {
    if (error instanceof Fault) return { fault: error.message };
    throw error;
  }
}

function makeUser(fields: Record<string, unknown>, now: number): User {
  const email = toText('email', fields.email, Email, 'is not an address such as john@example.com, of at most 254 characters');
  const username = toText('username', fields.username, Username, 'must have 1 to 64 letters, digits and _');
  if (email === null && username === null) throw new Fault('needs an email or a username');
  const createdAt = toTime('created_at', fields.created_at ?? now, now);
  const emailVerifiedAt = toVerified(fields.email_verified ?? false, now);
  if (emailVerifiedAt !== null && email === null) throw new Fault('email_verified: there is no email');
  return {
    id: randomId(),
    email: email && normalizeEmail(email),
    username,
    usernameKey: username && usernameKey(username),
    passwordHash: toHash(fields.password_hash),
    roles: toRoles(fields.roles ?? []),
    emailVerifiedAt,
    passwordChangedAt: createdAt,
    createdAt,
    lastSignedInAt: null,
    verifyBy: null,
  };
}

function toText(name: string, value: unknown, schema: TSchema, fault: string): string | null {
  if (value === undefined || value === null) return null;
  if (!Value.Check(schema, value)) throw new Fault(`${name}: ${fault}`);
  return value as string;
}

function toHash(value: unknown): string {
  if (typeof value !== 'string') throw new Fault(`password_hash: ${value === undefined || value === null ? 'is missing' : 'is not text'}`);
  const fault = findHashFault(value);
  if (fault) throw new Fault(`password_hash: ${fault}`);
  return value;
}

/** A list, or text in which spaces or commas are between the roles. */
function toRoles(value: unknown): string {
  const roles: unknown = typeof value === 'string' ? value.split(/[\s,]+/).filter(Boolean) : value;
  const text = isRoles(roles) ? [...new Set(roles)].join(' ') : null;
  if (text === null || text.length > MAX_ROLES_LENGTH) {
    throw new Fault(`roles: must be a list of names of letters, digits, _ . : and -, of ${MAX_ROLES_LENGTH} characters at most`);
  }
  return text;
}

function isRoles(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((role) => typeof role === 'string' && ROLE.test(role));
}

/** Since when the address is verified: yes means now. */
function toVerified(value: unknown, now: number): number | null {
  const isPlain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  const word = isPlain ? String(value).toLowerCase() : '';
  if (['false', 'f', 'no', '0'].includes(word)) return null;
  return ['true', 't', 'yes', '1'].includes(word) ? now : toTime('email_verified', value, now);
}

/** ISO 8601, as databases write it too, and UTC where no zone is named; or seconds or milliseconds since 1970. */
function toTime(name: string, value: unknown, now: number): number {
  const text = typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  const time = Math.trunc(/^\d+(\.\d+)?$/.test(text) ? fromEpoch(Number(text)) : fromIso(text));
  if (!Number.isSafeInteger(time)) throw new Fault(`${name}: is no time such as 2026-01-31T09:30:00Z, nor seconds or milliseconds since 1970`);
  if (time > now + DAY_MS) throw new Fault(`${name}: lies in the future`);
  return time;
}

function fromEpoch(number: number): number {
  return number < SECONDS_BELOW ? number * 1000 : number;
}

function fromIso(text: string): number {
  const [, date, time = '00:00', fraction = '0', zone = 'Z'] = TIME.exec(text) ?? [];
  if (date === undefined || !toIsoDate(Date.parse(`${date}T00:00Z`)).startsWith(date)) return Number.NaN;
  const [seconds = time] = /^\d\d:\d\d:\d\d$/.exec(time) ?? [`${time}:00`];
  const offset = /^z$/i.test(zone) ? 'Z' : zone.replace(':', '').replace(/^(...)(\d\d)?$/, (_all, hours: string, minutes = '00') => `${hours}:${String(minutes)}`);
  return Date.parse(`${date}T${seconds}.${fraction.slice(0, 3).padEnd(3, '0')}${offset}`);
}

/** Empty for what is no date. */
function toIsoDate(time: number): string {
  return Number.isNaN(time) ? '' : new Date(time).toISOString();
}
