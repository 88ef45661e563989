import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { resendOwnVerification, resendVerification, verifyEmail, type VerifyEmailResult } from '../core/email-verifications.ts';
import { emptyBodyIsNone } from '../plugins/json-body.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { answer, bearerProblems, Email, exampleLinkToken, LinkToken, Message, optionalBearer, unsafeProblems } from '../schemas.ts';
import { markedDeviceOf } from './token-answers.ts';

const VerifyEmailBody = Type.Object({ token: LinkToken }, { additionalProperties: false, examples: [{ token: exampleLinkToken }] });
const ResendBody = Type.Object({ email: Type.Optional(Email) }, { additionalProperties: false, examples: [{ email: 'john@example.com' }, {}] });

const msg = 'If this address is still to be verified, a mail with a link is on its way';
const verifyProblems = [problems.linkInvalid(), problems.identifierTaken(['email']), problems.invalidInput([{ pointer: '/token', detail: 'is required' }]), ...unsafeProblems];
const resendProblems = [problems.mailOff(), problems.invalidInput([{ pointer: '/email', detail: 'must match format "email"' }]), ...bearerProblems, ...unsafeProblems];

/** The verification of e-mail addresses. */
const emailRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.post('/auth/verify-email', {
    config,
    schema: {
      tags: ['auth'], operationId: 'verifyEmail', summary: 'Verify an e-mail address by the token of a mail', body: VerifyEmailBody,
      description: 'Needs no sign-in. Only a POST uses the token up: mail scanners follow links.',
      response: { 200: answer(Message, 'verified', { msg: 'E-mail address verified' }) },
      problems: verifyProblems,
    },
  }, async (request) => {
    const { outcome } = await verifyByLink(app, request, request.body.token);
    if (outcome === 'link_invalid') throw problems.linkInvalid();
    if (outcome === 'taken') throw problems.identifierTaken(['email']);
    return { msg: 'E-mail address verified' };
  });

  app.post('/auth/verify-email/resend', {
    config,
    schema: {
      tags: ['auth'], operationId: 'resendVerification', summary: 'Ask for another mail to verify an address', security: optionalBearer, body: ResendBody,
      description: 'For an address: the answer is the same, whether it has an account, is verified, or not. Signed in and without an address: for the one that one wants to change to, or else one’s own.',
      response: { 200: answer(Message, 'asked for', { msg }) },
      problems: resendProblems,
    },
    preValidation: emptyBodyIsNone,
    preHandler: async (request, reply) => {
      if (request.body.email === undefined) await app.authenticate(request, reply);
    },
  }, async (request) => {
    if (!app.config.mail.enabled) throw problems.mailOff();
    const { email } = request.body;
    const device = markedDeviceOf(request);
    const { userId, mailed } = await (email === undefined ? resendOwnVerification(app, request.auth.user, device) : resendVerification(app, email, device));
    request.log.info({ event: 'verification_requested', user_id: userId, mailed, ip: request.ip }, 'asked for a mail to verify an address');
    return { msg };
  });
};
export default emailRoutes;

/** Uses the token of a mail up, for the API and for the server's own page. */
export async function verifyByLink(app: FastifyInstance, request: FastifyRequest, token: string): Promise<VerifyEmailResult> {
  const result = await verifyEmail(app, token, markedDeviceOf(request));
  if (result.outcome === 'verified') {
    const event = result.changed ? 'email_changed' : 'email_verified';
    request.log.info({ event, user_id: result.userId, ip: request.ip }, result.changed ? 'changed the address of an account, verified' : 'verified the address of an account');
  } else {
    request.log.warn({ event: 'verification_refused', reason: result.outcome, ip: request.ip }, 'refused a link that is not valid');
  }
  return result;
}
