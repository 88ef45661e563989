import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { register } from '../core/registrations.ts';
import { login } from '../core/sign-ins.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import {
  answer, Email, exampleFault, exampleTokens, exampleUser, NewPassword, Password, passwordProblems, problemAnswers, setsRefreshCookie, toUser, Username,
  UserTokens,
} from '../schemas.ts';
import { answerTokens, deviceOf } from './token-answers.ts';

const eitherIdentifier = [{ title: 'with email', required: ['email'] }, { title: 'with username', required: ['username'] }];

const RegisterBody = Type.Object({ email: Type.Optional(Email), username: Type.Optional(Username), password: NewPassword }, {
  additionalProperties: false,
  anyOf: eitherIdentifier,
  examples: [{ email: 'john@example.com', username: 'johndoe', password: 'securepassword123' }],
});

const LoginBody = Type.Object({
  email: Type.Optional(Type.String({ maxLength: 254 })),
  username: Type.Optional(Type.String({ maxLength: 254 })),
  password: Password,
}, {
  additionalProperties: false,
  anyOf: eitherIdentifier,
  maxProperties: 2,
  examples: [{ email: 'john@example.com', password: 'securepassword123' }],
});

const registerProblems = [problems.identifierTaken(['email']), problems.invalidInput([{ pointer: '/password', detail: exampleFault }]), ...passwordProblems];
const loginProblems = [problems.invalidCredentials(), problems.invalidInput([{ pointer: '/password', detail: 'is required' }]), ...passwordProblems];

/** Sign-up and sign-in. */
const accountRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.post('/auth/register', {
    config,
    schema: {
      tags: ['auth'], operationId: 'register', summary: 'Sign up, and be signed in', body: RegisterBody,
      description: 'With an e-mail address, a username or both. Sets the refresh cookie.',
      response: {
        201: answer(UserTokens, 'signed up and signed in', { msg: 'user created', user: exampleUser, ...exampleTokens }, setsRefreshCookie),
        ...problemAnswers(...registerProblems),
      },
    },
  }, async (request, reply) => {
    const result = await register(app, request.body, deviceOf(request));
    if (result.outcome === 'weak_password') throw problems.invalidInput([{ pointer: '/password', detail: result.fault }]);
    if (result.outcome === 'taken') throw problems.identifierTaken(result.fields);
    request.log.info({ event: 'registered', user_id: result.user.id, session_id: result.issued.sessionId, ip: request.ip }, 'registered');
    reply.code(201);
    return { msg: 'user created', user: toUser(result.user), ...answerTokens(app, request, reply, result.issued) };
  });

  app.post('/auth/login', {
    config,
    schema: {
      tags: ['auth'], operationId: 'login', summary: 'Sign in', body: LoginBody,
      description: 'With the e-mail address or the username. Every wrong answer is the same 401, after the same work. Sets the refresh cookie.',
      response: {
        200: answer(UserTokens, 'signed in', { msg: 'Login successful', user: exampleUser, ...exampleTokens }, setsRefreshCookie),
        ...problemAnswers(...loginProblems),
      },
    },
  }, async (request, reply) => {
    const result = await login(app, request.body, deviceOf(request));
    app.metrics.logins.inc({ outcome: result.outcome });
    if (result.outcome === 'refused') {
      request.log.warn({ event: 'login_refused', user_id: result.userId, ip: request.ip }, 'refused a sign-in');
      throw problems.invalidCredentials();
    }
    request.log.info({ event: 'signed_in', user_id: result.user.id, session_id: result.issued.sessionId, ip: request.ip }, 'signed in');
    return { msg: 'Login successful', user: toUser(result.user), ...answerTokens(app, request, reply, result.issued) };
  });
};
export default accountRoutes;
