import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  disownAccount, resendOwnVerification, resendVerification, verifyEmail, type VerifyEmailResult,
} from '../core/email-verifications.ts';
import { emptyBodyIsNone } from '../plugins/json-body.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { answer, bearerProblems, Email, exampleLinkToken, LinkToken, Message, optionalBearer, Password, passwordProblems, unsafeProblems } from '../schemas.ts';
import { markedDeviceOf } from './token-answers.ts';

const VerifyEmailBody = Type.Object({ token: LinkToken, password: Type.Optional(Password) }, {
  additionalProperties: false, examples: [{ token: exampleLinkToken }],
});
const RejectBody = Type.Object({ token: LinkToken }, { additionalProperties: false, examples: [{ token: exampleLinkToken }] });
const ResendBody = Type.Object({ email: Type.Optional(Email) }, { additionalProperties: false, examples: [{ email: 'john@example.com' }, {}] });

const msg = 'If this address is still to be verified, a mail with a link is on its way';
const rejectProblems = [problems.linkInvalid(), problems.invalidInput([{ pointer: '/token', detail: 'is required' }]), ...unsafeProblems];
const verifyProblems = [problems.identifierTaken(['email']), ...rejectProblems];
/** What the verification can answer beside that where an account is of no use before it. */
const proofProblems = [problems.passwordRequired(), problems.invalidCredentials(), problems.tooManyAttempts(42), ...passwordProblems];
const resendProblems = [problems.mailOff(), problems.invalidInput([{ pointer: '/email', detail: 'must match format "email"' }]), ...bearerProblems, ...unsafeProblems];

/** The verification of e-mail addresses. */
const emailRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.post('/auth/verify-email', {
    config,
    schema: {
      tags: ['auth'], operationId: 'verifyEmail', summary: 'Verify an e-mail address by the token of a mail', body: VerifyEmailBody,
      description: 'Needs no sign-in. Only a POST uses the token up: mail scanners follow links. Under REQUIRE_EMAIL_VERIFICATION the first verification of an account must come from the browser that registered, or with the password that was chosen: otherwise the answer is 422 `password_required`.',
      response: { 200: answer(Message, 'verified', { msg: 'E-mail address verified' }) },
      problems: app.config.mail.requireVerification ? [...verifyProblems, ...proofProblems] : verifyProblems,
    },
  }, async (request) => {
    const { token, password } = request.body;
    const result = await verifyByLink(app, request, token, password);
    if (result.outcome !== 'verified') throw problemOf(result);
    return { msg: 'E-mail address verified' };
  });

  if (app.config.mail.requireVerification) app.post('/auth/verify-email/reject', {
    config,
    schema: {
      tags: ['auth'], operationId: 'rejectRegistration', summary: 'Delete an account that somebody else registered with your address', body: RejectBody,
      description: 'By the token of the mail that asks to verify the address. Only for an account that was never verified and never signed in.',
      response: { 200: answer(Message, 'deleted', { msg: 'The account is deleted' }) },
      problems: rejectProblems,
    },
  }, async (request) => {
    if (!(await rejectByLink(app, request, request.body.token))) throw problems.linkInvalid();
    return { msg: 'The account is deleted' };
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
export async function verifyByLink(
  app: FastifyInstance, request: FastifyRequest, token: string, password?: string,
): Promise<VerifyEmailResult> {
  const result = await verifyEmail(app, token, { password, marks: request.registrantMarks() }, markedDeviceOf(request));
  if (result.outcome === 'verified') {
    const event = result.changed ? 'email_changed' : 'email_verified';
    request.log.info({ event, user_id: result.userId, ip: request.ip }, result.changed ? 'changed the address of an account, verified' : 'verified the address of an account');
  } else {
    const who = 'userId' in result && { user_id: result.userId };
    request.log.warn({ event: 'verification_refused', reason: result.outcome, ...who, ip: request.ip }, 'refused to verify an address');
  }
  return result;
}

/** Deletes an account by the token of a mail, for the API and for the server's own page. False if the link is not valid. */
export async function rejectByLink(app: FastifyInstance, request: FastifyRequest, token: string): Promise<boolean> {
  const disowned = await disownAccount(app, token);
  if (disowned) request.log.info({ event: 'account_disowned', user_id: disowned.userId, ip: request.ip }, 'deleted an account that its address did not register');
  else request.log.warn({ event: 'verification_refused', reason: 'link_invalid', ip: request.ip }, 'refused to verify an address');
  return disowned !== null;
}

function problemOf(refused: Exclude<VerifyEmailResult, { outcome: 'verified' }>) {
  switch (refused.outcome) {
    case 'link_invalid': return problems.linkInvalid();
    case 'taken': return problems.identifierTaken(['email']);
    case 'password_required': return problems.passwordRequired();
    case 'wrong': return problems.invalidCredentials();
    case 'throttled': return problems.tooManyAttempts(Math.ceil(refused.retryAfterMs / 1000));
  }
}
