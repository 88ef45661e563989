import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { login } from '../core/sign-ins.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { answer, eitherIdentifier, exampleTokens, exampleUser, Password, passwordProblems, setsSignInCookies, UserTokens } from '../schemas.ts';
import { refuseOverload } from './overload.ts';
import { answerSignIn, markedDeviceOf } from './token-answers.ts';
import { logReplaced } from './token-events.ts';

/** Whatever was typed; but PostgreSQL has no NUL. */
const Typed = Type.String({ maxLength: 254, pattern: '^[^\\u0000]*$' });

const LoginBody = Type.Object({
  email: Type.Optional(Typed),
  username: Type.Optional(Typed),
  password: Password,
}, {
  additionalProperties: false,
  anyOf: eitherIdentifier,
  maxProperties: 2,
  examples: [{ email: 'john@example.com', password: 'quiet rivers carry old songs' }],
});

const loginProblems = [problems.invalidCredentials(), problems.tooManyAttempts(42), problems.invalidInput([{ pointer: '/password', detail: 'is required' }]), ...passwordProblems];

/** Sign-in. */
const accountRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.post('/auth/login', {
    config,
    schema: {
      tags: ['auth'], operationId: 'login', summary: 'Sign in', body: LoginBody,
      description: 'With the e-mail address or the username. Every wrong answer is the same 401, after the same work; too many of them are answered 429, except on devices that have signed in to the account before and say so by their cookie. Sets the refresh cookie and the device cookie.',
      response: {
        200: answer(UserTokens, 'signed in', { msg: 'Login successful', user: exampleUser, ...exampleTokens }, setsSignInCookies),
      },
      problems: loginProblems,
    },
    preParsing: refuseOverload(app),
  }, async (request, reply) => {
    const result = await login(app, request.body, markedDeviceOf(request), request.refreshCookies());
    app.metrics.logins.inc({ outcome: result.outcome });
    if (result.outcome === 'refused') {
      request.log.warn({ event: 'login_refused', user_id: result.userId, ...(result.unverified && { unverified: true }), ip: request.ip }, 'refused a sign-in');
      throw problems.invalidCredentials();
    }
    if (result.outcome === 'throttled') {
      request.log.warn({ event: 'login_throttled', user_id: result.userId, ip: request.ip }, 'refused a sign-in after too many wrong passwords');
      throw problems.tooManyAttempts(Math.ceil(result.retryAfterMs / 1000));
    }
    const who = { user_id: result.user.id, ip: request.ip };
    const { limited, issued: { sessionId } } = result;
    if (limited > 0) request.log.info({ event: 'session_limit', ...who, sessions_ended: limited }, 'ended the sessions used longest ago: there were too many');
    request.log.info({ event: 'signed_in', ...who, session_id: sessionId, ...logReplaced(app, request, result.presented) }, 'signed in');
    return { msg: 'Login successful', ...answerSignIn(app, request, reply, result) };
  });
};
export default accountRoutes;
