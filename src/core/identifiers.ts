/** RFC 5321 §4.5.3.1.1 */
const MAX_LOCAL_PART = 64;
/** Two less than the path of RFC 5321 §4.5.3.1.3, which has angle brackets around the address. */
export const MAX_EMAIL_LENGTH = 254;
/** A dot-atom without quotes, in ASCII (RFC 5322 §3.2.3). */
const LOCAL_PART = /^[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*$/;
/** What a lenient mail server decodes, and then sends to another address (RFC 2047 §2). */
const ENCODED_WORD = /=\?.*\?=/;
/** RFC 1035 §2.3.4: at most 63 characters */
const LABEL = /^[A-Za-z\d](?:[A-Za-z\d-]{0,61}[A-Za-z\d])?$/;
/** No top-level domain begins with a digit (RFC 1123 §2.1), so that 127.0.0.1 is none. */
const TOP_LEVEL = /^[A-Za-z]/;

/**
 * Whether there can be such an address: one rule for HTTP, imports and mails. A name, a comment, a quoted local part,
 * an address in brackets, and a domain of fewer than `minLabels` parts are refused (ASVS 1.3.11, 2.2.1).
 */
export function isEmail(text: string, minLabels = 2): boolean {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, Math.max(at, 0));
  const labels = text.slice(at + 1).split('.');
  return text.length <= MAX_EMAIL_LENGTH && local.length <= MAX_LOCAL_PART
    && LOCAL_PART.test(local) && !ENCODED_WORD.test(local)
    && labels.length >= minLabels && labels.every((label) => LABEL.test(label)) && TOP_LEVEL.test(labels.at(-1) ?? '');
}

/** E-mail addresses are compared without case. */
export function normalizeEmail(email: string): string {
  return lowerAscii(email);
}

/** Usernames are ASCII letters, digits and `_`, compared without case. */
export function usernameKey(username: string): string {
  return lowerAscii(username);
}

/**
 * Only A to Z have a lower case here: toLowerCase would make a k of the Kelvin sign, too, and so one account of two
 * names.
 */
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
