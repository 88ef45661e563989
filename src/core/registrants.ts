import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Core } from './core.ts';

/** Accounts that one browser is remembered to have registered, at most. */
const MAX_MARKS = 4;
const FORMAT = /^([\w-]{12})\.([\w-]{43})$/;

/**
 * A cookie's value that says which accounts this browser registered: a new mark before the older ones. A mark is the id of
 * a key and an HMAC over the account's id. It signs nobody in, and looks the same where no account was made.
 */
export function addRegistrantMark({ config }: Pick<Core, 'config'>, values: string[], userId: string): string {
  const [{ id: keyId, deviceKey }] = config.secrets.derivedKeys;
  return [`${keyId}.${sign(deviceKey, userId)}`, ...parseMarks(values)].slice(0, MAX_MARKS).join('~');
}

/** Whether one of the cookie's values says that this browser registered the account. */
export function isRegistrant({ config }: Pick<Core, 'config'>, values: string[], userId: string): boolean {
  return parseMarks(values).some((mark) => {
    const [keyId, signature = ''] = mark.split('.');
    const key = config.secrets.derivedKeys.find(({ id }) => id === keyId);
    return key !== undefined && timingSafeEqual(Buffer.from(signature), Buffer.from(sign(key.deviceKey, userId)));
  });
}

function parseMarks(values: string[]): string[] {
  return values.flatMap((value) => value.split('~')).filter((mark) => FORMAT.test(mark)).slice(0, MAX_MARKS);
}

/** The label keeps these marks apart from those of the device cookie, which begin with a random id of 22 characters. */
function sign(key: Parameters<typeof createHmac>[1], userId: string): string {
  return createHmac('sha256', key).update(`registrant|${userId}`).digest('base64url');
}
