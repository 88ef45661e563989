import type { Config } from '../config.ts';
import type { Mail } from '../store/mails.ts';
import type { Core } from './core.ts';
import type { NewMail } from './mails.ts';
import { tokenFromSeed } from './one-time-tokens.ts';

export type TemplateName = Exclude<NewMail['template'], 'decoy'>;
/** The source of a mail, with placeholders such as {{link}}. */
export type Template = { subject: string; text: string; html: string };
export type Templates = Record<TemplateName, Template>;
/** A mail as the recipient reads it. */
export type Letter = Template & { id: string; to: string };

const ANYWHERE = ['service', 'email'];
const WITH_LINK = [...ANYWHERE, 'link', 'valid_for'];
const WITH_ADDRESS = [...ANYWHERE, 'new_email'];
const WITH_USERNAME = [...ANYWHERE, 'new_username'];

/** What each template may be filled with; and the page that its link leads to, which then has to be in it. */
export const TEMPLATES: Record<TemplateName, { placeholders: string[]; page?: string }> = {
  verify_email: { placeholders: WITH_LINK, page: '/verify-email' },
  reset_password: { placeholders: WITH_LINK, page: '/reset-password' },
  already_registered: { placeholders: WITH_LINK, page: '/reset-password' },
  password_changed: { placeholders: ANYWHERE },
  username_changed: { placeholders: WITH_USERNAME },
  email_change_requested: { placeholders: WITH_ADDRESS },
  email_changed: { placeholders: WITH_ADDRESS },
  account_deleted: { placeholders: ANYWHERE },
};

const PLACEHOLDER = /\{\{ *([a-z_]+) *\}\}/g;

/** Why a part of a template will not do, worded for its author, or null. A link has no place in a subject: those end up in logs. */
export function findTemplateFault(name: TemplateName, part: keyof Template, source: string): string | null {
  const { placeholders, page } = TEMPLATES[name];
  const allowed = part === 'subject' ? placeholders.filter((placeholder) => placeholder !== 'link') : placeholders;
  const used = Array.from(source.matchAll(PLACEHOLDER), ([, placeholder]) => placeholder as string);
  const unknown = used.find((placeholder) => !allowed.includes(placeholder));
  const choice = `its ${part} may have ${allowed.map((placeholder) => `{{${placeholder}}}`).join(', ')}`;
  if (unknown !== undefined) return `has {{${unknown}}}; ${choice}`;
  if (source.replace(PLACEHOLDER, '').includes('{{')) return `has {{ without a name and }}; ${choice}`;
  if (part !== 'subject' && page !== undefined && !used.includes('link')) return 'has no {{link}}';
  return null;
}

type Composed = { outcome: 'composed'; letter: Letter; secrets: string[] } | { outcome: 'unknown_template' } | { outcome: 'key_gone' };

/**
 * Writes a mail of the outbox out. The token of its link is made here and is nowhere else; `localUrl` is where links lead
 * while neither APP_URL nor PUBLIC_URL is set, and no header of a request has a say in it (ASVS 14.2.1, 6.4.1).
 */
export function composeLetter(core: Pick<Core, 'config' | 'now'>, templates: Templates, mail: Mail, localUrl: () => string): Composed {
  const name = mail.template as TemplateName;
  if (!Object.hasOwn(templates, name)) return { outcome: 'unknown_template' };
  const { config } = core;
  const token = mail.tokenSeed !== null && mail.keyId !== null ? tokenFromSeed(core, { seed: mail.tokenSeed, keyId: mail.keyId }) : '';
  if (token === null) return { outcome: 'key_gone' };
  const { newEmail = '', newUsername = '' } = JSON.parse(mail.data) as { newEmail?: string; newUsername?: string };
  const letter = fillTemplate(templates[name], {
    service: config.mail.from.name || (config.mail.from.address.split('@')[1] ?? ''),
    email: mail.recipient,
    link: linkTo(config, TEMPLATES[name].page ?? '', token, localUrl),
    valid_for: wordDuration(mail.expiresAt - core.now()),
    new_email: newEmail,
    new_username: newUsername,
  });
  return { outcome: 'composed', letter: { id: mail.id, to: mail.recipient, ...letter }, secrets: [mail.recipient, newEmail, token].filter(Boolean) };
}

/** The token is in the fragment, which browsers send to no server: no access log on the way has it (ASVS 14.2.1). */
function linkTo({ mail: { appUrl, publicUrl } }: Config, page: string, token: string, localUrl: () => string): string {
  return `${appUrl ?? publicUrl ?? localUrl()}${page}#token=${token}`;
}

/** Puts the values in, once: what a value looks like does not matter, and in HTML it is text (ASVS 1.1.2, 1.3.7). */
function fillTemplate({ subject, text, html }: Template, values: Record<string, string>): Template {
  const valueOf = (name: string) => (values[name] ?? '').replace(/\p{Cc}+/gu, ' ');
  const fill = (part: string, write: (value: string) => string) => part.replace(PLACEHOLDER, (_match, name: string) => write(valueOf(name)));
  return { subject: fill(subject, (value) => value), text: fill(text, (value) => value), html: fill(html, escapeHtml) };
}

/** Text as HTML that shows it (ASVS 1.2.1). */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] as string);
}

/** `1 hour`, `45 minutes`, `3 days`: the largest unit of which there are at least two, or exactly one. */
export function wordDuration(milliseconds: number): string {
  const minutes = Math.max(1, Math.round(milliseconds / 60_000));
  const hours = Math.round(minutes / 60);
  const [count, unit] = minutes < 120 && minutes !== 60 ? [minutes, 'minute'] : hours < 48 ? [hours, 'hour'] : [Math.round(hours / 24), 'day'];
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}
