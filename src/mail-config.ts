import { resolve } from 'node:path';
import { unescape } from 'node:querystring';
import { domainToASCII } from 'node:url';
import { isEmail } from './core/identifiers.ts';
import { ConfigError, type Environment } from './environment.ts';
import { isLocal, readCertificates } from './tls-config.ts';

const MINUTE_MS = 60_000;
const SMTP_TIMEOUT_MS = 10_000;
/** An operator may send from a name without a dot, such as localhost. */
const LOCAL_SENDER_LABELS = 1;

/** What mails are made of; `enabled` is false in production without SMTP_URL, and then nothing that needs one may be asked for. */
export function parseMail(values: Environment) {
  const production = values.NODE_ENV === 'production';
  const smtp = parseSmtp(values);
  const needed = (['REQUIRE_EMAIL_VERIFICATION', 'APP_URL', 'MAIL_FROM'] as const).find((name) => values[name]);
  if (production && !smtp && needed) throw new ConfigError('SMTP_URL', `must be set in production, because ${needed} is`);
  if (production && smtp && !values.MAIL_FROM) throw new ConfigError('MAIL_FROM', 'must be set in production, because SMTP_URL is');
  if (production && smtp && !values.APP_URL && !values.PUBLIC_URL) throw new ConfigError('APP_URL', 'or PUBLIC_URL must be set in production, because SMTP_URL is: links in mails need an address');
  if (production && values.RESET_TOKEN_IN_RESPONSE) throw new ConfigError('RESET_TOKEN_IN_RESPONSE', 'must not be true in production');
  return {
    enabled: smtp !== null || !production,
    smtp,
    from: parseSender(values.MAIL_FROM || 'Keyturn <no-reply@localhost>'),
    templates: values.MAIL_TEMPLATES ? resolve(values.MAIL_TEMPLATES) : null,
    appUrl: values.APP_URL ? parseUrl('APP_URL', values.APP_URL) : null,
    publicUrl: values.PUBLIC_URL ? parseUrl('PUBLIC_URL', values.PUBLIC_URL) : null,
    requireVerification: values.REQUIRE_EMAIL_VERIFICATION,
    verificationMs: values.VERIFICATION_EXPIRE_HOURS * 60 * MINUTE_MS,
    resetMs: values.RESET_TOKEN_EXPIRE_MINUTES * MINUTE_MS,
    resetTokenInResponse: values.RESET_TOKEN_IN_RESPONSE,
  };
}

/** smtp: asks for STARTTLS and takes no less, except from a server on this machine (ASVS 12.3.1). Options of the library are not read from the URL. */
function parseSmtp({ SMTP_URL: text, TLS_CA }: Environment) {
  if (text === '') return null;
  const url = URL.parse(text);
  if (!url?.hostname || !/^smtps?:$/.test(url.protocol) || !/^\/?$/.test(url.pathname) || url.port === '0' || /[?#\s]/.test(text)) {
    throw new ConfigError('SMTP_URL', 'must look like smtp://user:password@host:587 or smtps://user:password@host:465; percent-encode what is special in user and password');
  }
  const username = unescape(url.username);
  const password = unescape(url.password);
  if ((username === '') !== (password === '')) throw new ConfigError('SMTP_URL', 'must have a user and a password, or neither');
  const secure = url.protocol === 'smtps:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, secure, port: Number(url.port || (secure ? 465 : 587)), requireTls: !secure && !isLocal(host), ca: readCertificates(TLS_CA), username, password, timeoutMs: SMTP_TIMEOUT_MS };
}

/**
 * A name, in quotes or without, and an address in angle brackets; or an address alone (ASVS 1.3.11). An internationalized
 * domain is kept in its ASCII form.
 */
function parseSender(text: string): { name: string; address: string } {
  const [, quoted, plain = '', inBrackets] = /^(?:"([^<>"\\\p{Cc}]*)"|([^<>"\\\p{Cc}]*))\s*<([^<>]+)>$/u.exec(text) ?? [];
  const given = inBrackets ?? text;
  const domainAt = given.lastIndexOf('@') + 1;
  const address = given.slice(0, domainAt) + domainToASCII(given.slice(domainAt));
  if (!isEmail(address, LOCAL_SENDER_LABELS)) throw new ConfigError('MAIL_FROM', 'must look like Example <no-reply@example.com>');
  return { name: (quoted ?? plain).trim(), address };
}

/** An address with neither query nor fragment, without slashes at its end; https, or http on this machine (ASVS 1.2.2). */
export function parseUrl(name: string, text: string): string {
  const url = URL.parse(text);
  const safe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLocal(url.hostname));
  if (!url || !safe || url.username || url.password || /[?#\s]/.test(text)) {
    throw new ConfigError(name, 'must be an https:// address (http:// only on this machine), without query and fragment');
  }
  return url.href.replace(/\/+$/, '');
}
