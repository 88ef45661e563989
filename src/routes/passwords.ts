import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { changePassword } from '../core/password-changes.ts';
import { renewReset, requestReset, type ResetRequest, type ResetResult, resetPassword } from '../core/password-resets.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import {
  answer, bearerProblems, Email, exampleFault, exampleLinkToken, exampleTokens, exampleUser, LinkToken, Message, NewPassword, optionalBearer,
  Password, passwordProblems, setsSignInCookies, unsafeProblems, UserTokens,
} from '../schemas.ts';
import { answerSignIn, markedDeviceOf } from './token-answers.ts';
import { logReplaced } from './token-events.ts';

const ForgotPasswordBody = Type.Object({ email: Type.Optional(Email), token: Type.Optional(LinkToken) }, {
  additionalProperties: false,
  oneOf: [{ title: 'of an address', required: ['email'] }, { title: 'by the token of an older mail', required: ['token'] }],
  examples: [{ email: 'john@example.com' }, { token: exampleLinkToken }],
});
const ForgotPasswordAnswer = Type.Object({
  msg: Type.String(),
  reset_token: Type.Optional(Type.String({ description: 'only with RESET_TOKEN_IN_RESPONSE, which production refuses' })),
}, { additionalProperties: false });

const ChangePasswordBody = Type.Object({ token: Type.Optional(LinkToken), old_password: Type.Optional(Password), new_password: NewPassword }, {
  additionalProperties: false,
  oneOf: [{ title: 'by the token of a mail', required: ['token'] }, { title: 'signed in, by the old password', required: ['old_password'] }],
  examples: [
    { old_password: 'quiet rivers carry old songs', new_password: 'seven lanterns over the harbour' },
    { token: exampleLinkToken, new_password: 'seven lanterns over the harbour' },
  ],
});

/** By the old password, and by the token of a mail. */
const ChangePasswordAnswer = Type.Union([UserTokens, Message]);
const changed = 'Password changed successfully';

const msg = 'If this address has an account, a mail with a link to choose a new password is on its way; if none comes, open the newest one that you have';
const forgotProblems = [problems.mailOff(), problems.linkInvalid(), problems.invalidInput([{ pointer: '/email', detail: 'is required' }]), ...unsafeProblems];
const changeProblems = [
  problems.linkInvalid(), problems.invalidCredentials(), problems.tooManyAttempts(42), problems.invalidInput([{ pointer: '/new_password', detail: exampleFault }]),
  ...bearerProblems, ...passwordProblems,
];

/** The forgotten password and its change. */
const passwordRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.post('/auth/forgot-password', {
    config,
    schema: {
      tags: ['auth'], operationId: 'forgotPassword', summary: 'Ask for a mail to choose a new password', body: ForgotPasswordBody,
      description: 'The answer is the same for every address, with an account or without. The link leads to `APP_URL/reset-password#token=…`, or to a small page of the server’s own; it works once. A newer link leaves the older ones alone. With the `token` of such a link, also one that has expired, instead of the address: the mail goes to where that link went, however many mails strangers have asked for.',
      response: { 200: answer(ForgotPasswordAnswer, 'asked for', { msg }) },
      problems: forgotProblems,
    },
  }, async (request) => {
    if (!app.config.mail.enabled) throw problems.mailOff();
    const { email, token } = request.body;
    const asked = email === undefined
      ? await renewByLink(app, request, token ?? '')
      : logResetRequest(request, await requestReset(app, email, markedDeviceOf(request)));
    if (asked === null) throw problems.linkInvalid();
    return { msg, ...(app.config.mail.resetTokenInResponse && { reset_token: asked.token }) };
  });

  app.post('/auth/change-password', {
    config,
    schema: {
      tags: ['auth'], operationId: 'changePassword', summary: 'Change the password', security: optionalBearer, body: ChangePasswordBody,
      description: 'Signed in, by the old password: every session of the account ends, this one too, and a new one begins; the answer and the cookies are those of a sign-in. By the token of a mail: every session ends, and nobody is signed in; the answer is only `msg`.',
      response: {
        200: answer(ChangePasswordAnswer, 'changed; with the user and tokens of a new session after a change by the old password',
          { msg: changed, user: exampleUser, ...exampleTokens }, setsSignInCookies),
      },
      problems: changeProblems,
    },
    preHandler: async (request, reply) => {
      if (request.body.token === undefined) await app.authenticate(request, reply);
    },
  }, async (request, reply) => {
    const { token, old_password: oldPassword, new_password: newPassword } = request.body;
    if (token === undefined) return { msg: changed, ...(await changeByOldPassword(app, request, reply, { oldPassword: oldPassword as string, newPassword })) };
    throwUnlessChanged(await resetByLink(app, request, reply, token, newPassword));
    return { msg: changed };
  });
};
export default passwordRoutes;

function logResetRequest(request: FastifyRequest, asked: ResetRequest, byLink = false): ResetRequest {
  const about = { user_id: asked.userId, mailed: asked.mailed, ...(byLink && { by_link: true }), ip: request.ip };
  request.log.info({ event: 'password_reset_requested', ...about }, 'asked for a mail to choose a new password');
  return asked;
}

/** Mails another link to where an older one went, for the API and for the server's own page; null if that is not valid. */
export async function renewByLink(app: FastifyInstance, request: FastifyRequest, token: string): Promise<ResetRequest | null> {
  const asked = await renewReset(app, token);
  if (asked) return logResetRequest(request, asked, true);
  request.log.warn({ event: 'password_reset_refused', ip: request.ip }, 'refused a link that is not valid');
  return null;
}

/** Uses the token of a mail up, for the API and for the server's own page. */
export async function resetByLink(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply, token: string, newPassword: string): Promise<ResetResult> {
  const result = await resetPassword(app, token, newPassword);
  if (result.outcome === 'changed') {
    request.log.info({ event: 'password_reset', user_id: result.user.id, sessions_ended: result.ended, ip: request.ip }, 'changed a password by a mailed link');
    reply.clearRefreshCookie().setDeviceCookie(result.user);
  } else if (result.outcome === 'link_invalid') {
    request.log.warn({ event: 'password_reset_refused', ip: request.ip }, 'refused a link that is not valid');
  }
  return result;
}

function throwUnlessChanged(result: ResetResult) {
  if (result.outcome === 'link_invalid') throw problems.linkInvalid();
  if (result.outcome === 'weak_password') throw problems.invalidInput([{ pointer: '/new_password', detail: result.fault }]);
}

async function changeByOldPassword(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply, passwords: { oldPassword: string; newPassword: string }) {
  const result = await changePassword(app, request.auth, passwords, markedDeviceOf(request), request.refreshCookies());
  if (result.outcome === 'weak_password') throw problems.invalidInput([{ pointer: '/new_password', detail: result.fault }]);
  if (result.outcome !== 'changed') throw refuseUnconfirmed(request, 'password_change_refused', result);
  const about = { user_id: result.user.id, session_id: result.issued.sessionId, sessions_ended: result.ended, ip: request.ip };
  request.log.info({ event: 'password_changed', ...about, ...logReplaced(app, request, result.presented) }, 'changed the password');
  return answerSignIn(app, request, reply, result);
}

/** Logs that a signed-in user did not show the password, and yields the problem. */
export function refuseUnconfirmed(request: FastifyRequest, event: string, result: { outcome: 'wrong' } | { outcome: 'throttled'; retryAfterMs: number }) {
  const throttled = result.outcome === 'throttled';
  request.log.warn({ event, user_id: request.auth.user.id, throttled, ip: request.ip }, 'refused what needs the password');
  return throttled ? problems.tooManyAttempts(Math.ceil(result.retryAfterMs / 1000)) : problems.invalidCredentials();
}
