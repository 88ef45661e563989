import { isCommonPassword } from './common-passwords.ts';
import type { Core } from './core.ts';

export const MAX_PASSWORD_LENGTH = 256;
/** Names shorter than this are no part of the rules: no password of 8 characters is one with little behind it. */
const MIN_NAME_LENGTH = 4;
/** Up to so many characters are one step of a repetition: aaaaaaaa, abababab, 12312312. */
const MAX_REPEATED = 3;

/** Of the documents that Keyturn was made from, whose commands run in development as they are; everywhere else they are common. */
const SAMPLES = new Set(['securepassword123', 'Password123', 'oldpassword', 'newpassword123', 'newSecurePassword123', 'testpassword']);

/** Whose password it is to be: no password is one's own name or address. */
export type Identity = { email?: string | null | undefined; username?: string | null | undefined };

/**
 * The rule that a new password breaks, worded for its owner, or null (NIST SP 800-63B-4 §3.1.1.2; ASVS 6.2.1, 6.2.4, 6.2.11,
 * 6.2.12). It is compared whole, after NFC, and characters are counted as code points.
 */
export async function findPasswordFault(core: Pick<Core, 'config' | 'passwords'>, password: string, identity: Identity): Promise<string | null> {
  const { minLength, requireLetterAndDigit, blockedWords, allowSamples } = core.config.passwords;
  const normal = password.normalize('NFC');
  const characters = Array.from(normal);
  if (characters.length < minLength) return `must have at least ${minLength} characters`;
  if (characters.length > MAX_PASSWORD_LENGTH) return `must have at most ${MAX_PASSWORD_LENGTH} characters`;
  if (requireLetterAndDigit && !(/\p{L}/u.test(normal) && /\p{N}/u.test(normal))) return 'must have a letter and a digit';
  const named = findName(normal, identity, blockedWords);
  if (named) return `must not be ${named}, with or without digits and punctuation after it`;
  const isSample = allowSamples && SAMPLES.has(normal);
  if (!isSample && coresOf(normal).some(isCommonPassword)) return 'must not be one of the commonest passwords';
  if (isRepetition(characters) || isSequence(characters)) return 'must not be a mere repetition or sequence';
  return (await core.passwords.isBreached(normal)) ? 'must not be one that was in a data breach (Have I Been Pwned knows it)' : null;
}

/** What a guesser's rules try with a common password: itself, with digits and punctuation after it, and written several times. */
function coresOf(password: string): string[] {
  const [, repeated = password] = /^(.+?)\1+$/su.exec(password) ?? [];
  return [password, password.replace(/[\p{N}\p{P}\p{S}\p{Z}]+$/u, ''), repeated];
}

function findName(password: string, { email, username }: Identity, blockedWords: string[]): string | undefined {
  const names = [
    ['your e-mail address', email],
    ['the name in your e-mail address', email?.slice(0, email.lastIndexOf('@'))],
    ['your username', username],
    ...blockedWords.map((word) => ['a name of this service', word] as const),
  ] as const;
  const folded = password.toLowerCase();
  return names.find(([, name]) => name && name.length >= MIN_NAME_LENGTH && isNameWithTail(folded, name.normalize('NFC').toLowerCase()))?.[0];
}

/** john, john1984 and john!! are john; john and jane is not. */
function isNameWithTail(password: string, name: string): boolean {
  return password.startsWith(name) && /^[\p{N}\p{P}\p{S}\p{Z}]*$/u.test(password.slice(name.length));
}

function isRepetition(characters: string[]): boolean {
  const sizes = Array.from({ length: MAX_REPEATED }, (_, index) => index + 1);
  return sizes.some((size) => characters.every((character, at) => at < size || character === characters[at - size]));
}

/** Up or down by one, as abcdefgh and 87654321; after 9 comes 0. */
function isSequence(characters: string[]): boolean {
  const steps = characters.slice(1).map((character, at) => stepBetween(characters[at] ?? '', character));
  return steps.every((step) => step === 1) || steps.every((step) => step === -1);
}

function stepBetween(one: string, next: string): number {
  if (`${one}${next}` === '90') return 1;
  if (`${one}${next}` === '09') return -1;
  return (next.codePointAt(0) ?? 0) - (one.codePointAt(0) ?? 0);
}
