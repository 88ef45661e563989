import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { isDisownable, needsPassword } from '../core/email-verifications.ts';
import { findLink, findMailedLink } from '../core/link-mails.ts';
import { recordProblem } from '../plugins/problems.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { NewPassword, Password } from '../schemas.ts';
import { rejectByLink, verifyByLink } from './emails.ts';
import { type Link, linkForm, parseForm, readToken, renewForm, resetForm, verifyForm } from './link-forms.ts';
import { html, show } from './pages.ts';
import { renewByLink, resetByLink } from './passwords.ts';

const FORM = 'application/x-www-form-urlencoded';

/** A token, or the link that it is in. */
const Pasted = Type.String({ minLength: 1, maxLength: 2048 });
const ResetForm = Type.Object({
  token: Pasted,
  new_password: Type.Optional(Type.Unsafe<string>({ ...NewPassword, minLength: 0 })),
  answer: Type.Optional(Type.Literal('renew')),
}, { additionalProperties: false });
const VerifyForm = Type.Object({
  token: Pasted,
  password: Type.Optional(Type.Unsafe<string>({ ...Password, minLength: 0 })),
  answer: Type.Optional(Type.Union([Type.Literal('confirm'), Type.Literal('not_me')])),
}, { additionalProperties: false });

/**
 * Where the links of mails lead while there is no APP_URL. The token is in the fragment: a script of the page sends it in
 * the page's form, and whoever has no script pastes the link. Neither changes anything, because mail scanners follow links
 * and some run scripts: only the answer to the form that comes back does, by the same functions as the API.
 */
const linkPageRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);
  const schema = { hide: true };
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(FORM, { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) => parseForm(body));
  app.addContentTypeParser('*', async () => { throw problems.unsupportedMediaType(FORM); });
  app.setErrorHandler((error: Partial<FastifyError> & Error, request, reply) => {
    const problem = recordProblem(error, request);
    reply.code(problem.status).headers(problem.headers);
    return show(reply, 'That did not work', html`<p role="alert">${problem.message}.</p>`, { fault: true });
  });

  app.get('/reset-password', { schema }, async (_request, reply) => show(reply, 'Choose a new password', linkForm, { readsLink: true }));
  app.get('/verify-email', { schema }, async (_request, reply) => show(reply, 'Verify your e-mail address', linkForm, { readsLink: true }));

  app.post('/reset-password', { config, schema: { ...schema, body: ResetForm } }, async (request, reply) => {
    const { new_password: newPassword, answer } = request.body;
    const token = readToken(request.body.token);
    if (token === null) return showInvalid(reply);
    if (answer === 'renew') return showRenewed(reply, await renewByLink(app, request, token) !== null);
    if (newPassword === undefined) return showReset(reply, token);
    const result = await resetByLink(app, request, reply, token, newPassword);
    if (result.outcome === 'changed') return show(reply, 'Your password is changed', html`<p>All devices are signed out. Sign in with the new password; you can close this page.</p>`);
    return showReset(reply, token, result.outcome === 'weak_password' ? result.fault : undefined);
  });

  app.post('/verify-email', { config, schema: { ...schema, body: VerifyForm } }, async (request, reply) => {
    const { password, answer } = request.body;
    const token = readToken(request.body.token);
    if (token === null) return showInvalid(reply);
    if (answer === undefined) return showVerify(request, reply, token);
    if (answer === 'not_me') return showRejected(reply, await rejectByLink(app, request, token));
    const result = await verifyByLink(app, request, token, password);
    switch (result.outcome) {
      case 'verified': return show(reply, 'Your e-mail address is verified', html`<p>Thank you; you can close this page.</p>`);
      case 'taken': return show(reply.code(409), 'This address is in use', html`<p role="alert">Another account has this address meanwhile.</p>`, { fault: true });
      case 'link_invalid': return showInvalid(reply);
      case 'throttled': throw problems.tooManyAttempts(Math.ceil(result.retryAfterMs / 1000));
      case 'password_required': return showVerify(request, reply.code(422), token, 'The password is needed');
      case 'wrong': return showVerify(request, reply.code(401), token, 'This is not the password that was chosen');
    }
  });

  /** The form for a new password; for an expired link the one that has another sent. */
  async function showReset(reply: FastifyReply, token: string, fault?: string) {
    const found = await findMailedLink(app, 'reset_password', token);
    if (!found || found.token.email !== found.user.email) return showInvalid(reply);
    const link: Link = { token, email: found.token.email };
    if (found.expired) return show(reply.code(400), 'This link has expired', renewForm(link), { fault: true });
    if (fault !== undefined) reply.code(422);
    return show(reply, 'Choose a new password', resetForm(link, app.config.passwords.minLength, fault), { fault: fault !== undefined });
  }

  async function showVerify(request: FastifyRequest, reply: FastifyReply, token: string, fault?: string) {
    const found = await findLink(app, 'verify_email', token);
    if (!found) return showInvalid(reply);
    const proof = needsPassword(app, found.user, request.registrantMarks()) ? { ...(fault !== undefined && { fault }) } : null;
    const form = verifyForm({ token, email: found.token.email }, { proof, disownable: isDisownable(found.user) });
    return show(reply, 'Verify your e-mail address', form, { fault: fault !== undefined });
  }
};
export default linkPageRoutes;

function showRenewed(reply: FastifyReply, isValid: boolean) {
  if (!isValid) return showInvalid(reply);
  return show(reply, 'A new link is on its way', html`<p>Look into your mailbox; you can close this page. If no mail comes, open the newest one that you have.</p>`);
}

function showRejected(reply: FastifyReply, isDeleted: boolean) {
  if (!isDeleted) return showInvalid(reply);
  return show(reply, 'The account is deleted', html`<p>Nobody can sign in with it. You can close this page.</p>`);
}

function showInvalid(reply: FastifyReply) {
  return show(reply.code(400), 'This link is not valid', html`<p role="alert">It was used already, has expired, or the account was changed since. Ask for a new mail where you asked for this one.</p>`, { fault: true });
}
