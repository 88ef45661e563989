import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { findLink } from '../core/link-mails.ts';
import { recordProblem } from '../plugins/problems.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { LinkToken, NewPassword } from '../schemas.ts';
import { verifyByLink } from './emails.ts';
import { Html, html, page, PAGE_POLICY } from './pages.ts';
import { resetByLink } from './passwords.ts';

const FORM = 'application/x-www-form-urlencoded';
const TOKEN = /^[\w-]{43}$/;
const MAX_FIELDS = 10;

const ResetForm = Type.Object({ token: LinkToken, new_password: Type.Unsafe<string>({ ...NewPassword, minLength: 0 }) }, { additionalProperties: false });
const VerifyForm = Type.Object({ token: LinkToken }, { additionalProperties: false });

/**
 * Where the links of mails lead while there is no APP_URL: pages that need no script. Reading one changes nothing, for mail
 * scanners follow links; only its form's POST uses the token up, by the same functions as the API.
 */
const linkPageRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);
  const schema = { hide: true };
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(FORM, { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) => parseForm(body));
  app.addContentTypeParser('*', async () => { throw problems.unsupportedMediaType(FORM); });
  app.setErrorHandler((error: Partial<FastifyError> & Error, request, reply) => {
    const problem = recordProblem(error, request);
    return show(reply.code(problem.status).headers(problem.headers), 'That did not work', html`<p role="alert">${problem.message}.</p>`, { fault: true });
  });

  app.get('/reset-password', { schema }, async (request, reply) => {
    const link = await presentedLink(request, 'reset_password');
    return link ? showResetForm(reply, link) : showInvalid(reply);
  });

  app.post('/reset-password', { config, schema: { ...schema, body: ResetForm } }, async (request, reply) => {
    const { token, new_password: newPassword } = request.body;
    const result = await resetByLink(app, request, reply, token, newPassword);
    if (result.outcome === 'link_invalid') return showInvalid(reply);
    if (result.outcome === 'changed') return show(reply, 'Your password is changed', html`<p>All devices are signed out. Sign in with the new password; you can close this page.</p>`);
    const link = await findLink(app, 'reset_password', token);
    return link ? showResetForm(reply.code(422), { token, email: link.token.email }, result.fault) : showInvalid(reply);
  });

  app.get('/verify-email', { schema }, async (request, reply) => {
    const link = await presentedLink(request, 'verify_email');
    return link ? showVerifyForm(reply, link) : showInvalid(reply);
  });

  app.post('/verify-email', { config, schema: { ...schema, body: VerifyForm } }, async (request, reply) => {
    const { outcome } = await verifyByLink(app, request, request.body.token);
    if (outcome === 'link_invalid') return showInvalid(reply);
    if (outcome === 'taken') return show(reply.code(409), 'This address is in use', html`<p role="alert">Another account has this address meanwhile.</p>`, { fault: true });
    return show(reply, 'Your e-mail address is verified', html`<p>Thank you; you can close this page.</p>`);
  });

  /** The token of the address, if it is one that can be used now. */
  async function presentedLink(request: FastifyRequest, purpose: 'reset_password' | 'verify_email'): Promise<Link | null> {
    const { token } = request.query as { token?: unknown };
    const link = typeof token === 'string' && TOKEN.test(token) ? await findLink(app, purpose, token) : undefined;
    return link ? { token: token as string, email: link.token.email } : null;
  }

  function showResetForm(reply: FastifyReply, link: Link, fault?: string) {
    const { minLength } = app.config.passwords;
    return show(reply, 'Choose a new password', html`${formStart(link)}
<label for="account">Account</label>
<input id="account" type="email" value="${link.email}" autocomplete="username" readonly>
<label for="new-password">New password</label>
${fault === undefined ? '' : html`<p class="fault" id="fault" role="alert">The new password ${fault}.</p>`}
<input id="new-password" name="new_password" type="password" autocomplete="new-password" required minlength="${String(minLength)}" ${new Html(fault === undefined ? 'aria-describedby="rule"' : 'aria-invalid="true" aria-describedby="fault rule" autofocus')}>
<p class="hint" id="rule">At least ${String(minLength)} characters. A few words that only you would put together do well. All your devices will be signed out.</p>
<button>Change password</button>
</form>`, { fault: fault !== undefined });
  }
};
export default linkPageRoutes;

type Link = { token: string; email: string };

function showVerifyForm(reply: FastifyReply, link: Link) {
  return show(reply, 'Verify your e-mail address', html`<p>Is <strong>${link.email}</strong> the address of your account?</p>
${formStart(link)}
<button>Yes, verify it</button>
</form>
<p class="hint">If you did not ask for this, close the page: nothing changes.</p>`);
}

/** It is sent to the page's own address, wherever a proxy puts that, without the query: the token is in no address again. */
function formStart({ token }: Link): Html {
  return html`<form method="post" action="?">
<input type="hidden" name="token" value="${token}">`;
}

function showInvalid(reply: FastifyReply) {
  return show(reply.code(400), 'This link is not valid', html`<p role="alert">It was used already, has expired, or a newer one was sent. Ask for a new mail where you asked for this one.</p>`, { fault: true });
}

function show(reply: FastifyReply, title: string, body: Html, state?: { fault: boolean }) {
  return reply.header('content-security-policy', PAGE_POLICY).type('text/html; charset=utf-8').send(page(title, body, state));
}

/** As strict as the JSON parser: bytes that are not UTF-8 become no other password, and each field is there once. */
function parseForm(body: Buffer): Record<string, string> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    const fields = text.split('&').filter(Boolean).map(parseField);
    if (fields.length > MAX_FIELDS || new Set(fields.map(([name]) => name)).size !== fields.length) throw problems.badRequest();
    return Object.fromEntries(fields);
  } catch {
    throw problems.badRequest();
  }
}

function parseField(field: string): [name: string, value: string] {
  const [name = '', ...rest] = field.split('=');
  const decode = (part: string) => decodeURIComponent(part.replaceAll('+', ' '));
  return [decode(name), decode(rest.join('='))];
}
