import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { SMTPServer, type SMTPServerOptions, type SMTPServerSession } from 'smtp-server';
import { expect, onTestFinished } from 'vitest';
import { type NewMail, queueMail } from '../../src/core/mails.ts';
import { newOneTimeToken } from '../../src/core/one-time-tokens.ts';
import { startApp } from './app.ts';
import { LOCALHOST_PEM } from './certificates.ts';

/** What the server does where it does not simply agree; thrown replies are sent. */
export type Rules = {
  connect?: () => unknown;
  auth?: (username: string, password: string) => unknown;
  from?: (address: string) => unknown;
  to?: (address: string) => unknown;
  /** called with the whole mail, before it is taken */
  data?: (mail: Received) => unknown;
};
export type Received = ReturnType<typeof parseMail> & { from: string; to: string[]; secure: boolean; user: string | undefined };
export type Smtp = Awaited<ReturnType<typeof startSmtp>>;

/** A reply of the server: `throw reply(450, '4.2.0 try again later')`. */
export function reply(responseCode: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode });
}

/** A real SMTP server on this machine, gone after the test. Without options it offers neither TLS nor authentication. */
export async function startSmtp(rules: Rules = {}, { port = 0, host = '127.0.0.1', ...options }: SMTPServerOptions & { port?: number; host?: string } = {}) {
  const received: Received[] = [];
  let rule = rules;
  const pem = LOCALHOST_PEM === null ? null : readFileSync(LOCALHOST_PEM, 'utf8');
  const server = new SMTPServer({
    ...(pem !== null && { key: pem, cert: pem }), disabledCommands: ['STARTTLS', 'AUTH'], disableReverseLookup: true, closeTimeout: 10, hideENHANCEDSTATUSCODES: true,
    onConnect: (_session, done) => answer(done, () => rule.connect?.()),
    onAuth: ({ username = '', password }, _session, done) => answer((error) => done(error, { user: username }), () => rule.auth?.(username, password ?? '')),
    onMailFrom: ({ address }, _session, done) => answer(done, () => rule.from?.(address)),
    onRcptTo: ({ address }, _session, done) => answer(done, () => rule.to?.(address)),
    onData: (stream, session, done) => answer(done, async () => {
      const mail = describeMail(await stream.setEncoding('utf8').reduce<string>((all, chunk: string) => all + chunk, ''), session);
      await rule.data?.(mail);
      received.push(mail);
    }),
    ...options,
  });
  server.on('error', () => undefined); // a client that hangs up is no failure of the server
  const listener = server.listen(port, host);
  await once(listener, 'listening');
  const stop = () => new Promise<void>((resolve) => { server.close(resolve); });
  onTestFinished(stop);
  const { port: actual } = listener.address() as { port: number };
  return {
    received, stop, port: actual,
    /** From now on it does this. */
    change: (next: Rules) => { rule = next; },
    url: `smtp://127.0.0.1:${actual}`,
    /** Waits for so many mails. */
    expectMails: async (count: number) => {
      await expect.poll(() => received.length).toBeGreaterThanOrEqual(count);
      return received;
    },
  };
}

function answer(done: (error?: Error | null) => void, decide: () => unknown): void {
  void (async () => decide())().then(() => done(), (error: unknown) => done(error as Error));
}

function describeMail(raw: string, { envelope, secure, user }: SMTPServerSession) {
  const from = envelope.mailFrom ? envelope.mailFrom.address : '';
  return { ...parseMail(raw), from, to: envelope.rcptTo.map(({ address }) => address), secure, user: user as string | undefined };
}

/** Takes a mail with a text and an HTML part apart (RFC 2045, 2047). */
function parseMail(raw: string) {
  const { headers, body } = parsePart(raw);
  const boundary = /boundary="?([^";]+)/.exec(headers['content-type'] ?? '')?.[1];
  const parts = boundary === undefined ? [{ headers, body }] : body.split(`--${boundary}`).slice(1, -1).map((part) => parsePart(part.replace(/^\r\n/, '')));
  const contentOf = (type: string) => parts.filter((part) => part.headers['content-type']?.startsWith(type)).map(decodeBody).join('');
  const text = contentOf('text/plain');
  const link = /https?:\S+[?#]token=\S+/.exec(text)?.[0] ?? null;
  return { raw, headers, subject: decodeWords(headers.subject ?? ''), text, html: contentOf('text/html'), link, token: link?.split('token=')[1] ?? null };
}

function parsePart(raw: string) {
  const end = raw.indexOf('\r\n\r\n');
  const lines = raw.slice(0, end).replace(/\r\n[ \t]+/g, ' ').split('\r\n');
  const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
  return { headers: headers as Record<string, string>, body: raw.slice(end + 4) };
}

function decodeBody({ headers, body }: ReturnType<typeof parsePart>): string {
  const encoding = headers['content-transfer-encoding'];
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString();
  return encoding === 'quoted-printable' ? decodeQuoted(body.replace(/=\r\n/g, '')) : body;
}

export function decodeWords(text: string): string {
  return text.replace(/(=\?utf-8\?[bq]\?[^?]*\?=)\s+(?==\?)/gi, '$1')
    .replace(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_word, kind: string, coded: string) => (kind.toLowerCase() === 'b' ? Buffer.from(coded, 'base64').toString() : decodeQuoted(coded.replaceAll('_', ' '))));
}

function decodeQuoted(text: string): string {
  return Buffer.from(text.replace(/=([\dA-F]{2})/gi, (_code, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))), 'latin1').toString();
}

/** The app with that mail server; its time-out is as in production unless the test waits for it. */
export async function startMailApp(smtp: { url: string }, env: Record<string, string> = {}, timeoutMs = 10_000) {
  const testApp = await startApp({ SMTP_URL: smtp.url, MAIL_FROM: 'Example <no-reply@example.com>', APP_URL: 'https://app.example.com/account', ...env },
    (config) => ({ ...config, mail: { ...config.mail, smtp: config.mail.smtp && { ...config.mail.smtp, timeoutMs } } }));
  const { app, clock, logLines } = testApp;
  const queue = async (mail: NewMail) => {
    if (!(await app.store.transact([queueMail(app, mail)]))) throw new Error('the mail was not queued');
  };
  return {
    ...testApp, queue,
    deliver: () => app.postman.deliver(),
    /** A mail with a link that is good for an hour; yields its token. */
    queueLink: async (to = 'john@example.com') => {
      const token = newOneTimeToken(app);
      await queue({ template: 'reset_password', to, token, expiresAt: clock.now + 3_600_000 });
      return token;
    },
    isEmpty: async () => !(await app.store.mails.areDue(Number.MAX_SAFE_INTEGER)),
    /** The log lines of an event, without what is on every line. */
    logged: (event: string) => logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line.event === event),
  };
}
