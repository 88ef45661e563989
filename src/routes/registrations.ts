import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { register, registerQuietly } from '../core/registrations.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import {
  answer, eitherIdentifier, Email, exampleFault, exampleTokens, exampleUser, Message, NewPassword, passwordProblems, setsRegistrantCookie, setsSignInCookies, Username,
  UserTokens,
} from '../schemas.ts';
import { refuseOverload } from './overload.ts';
import { answerSignIn, markedDeviceOf } from './token-answers.ts';
import { logReplaced } from './token-events.ts';

const identifiers = { username: Type.Optional(Username), password: NewPassword };
const examples = [{ email: 'john@example.com', username: 'johndoe', password: 'quiet rivers carry old songs' }];
const RegisterBody = Type.Object({ email: Type.Optional(Email), ...identifiers }, { additionalProperties: false, anyOf: eitherIdentifier, examples });
const QuietRegisterBody = Type.Object({ email: Email, ...identifiers }, { additionalProperties: false, examples });

const msg = 'Nearly there: open the link in the mail that is on its way to this address';
const registerProblems = [problems.identifierTaken(['email']), problems.invalidInput([{ pointer: '/password', detail: exampleFault }]), ...passwordProblems];

/** Sign-up. With REQUIRE_EMAIL_VERIFICATION another route takes its place. */
const registrationRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);
  if (app.config.mail.requireVerification) return void app.register(quietRegistrationRoutes);

  app.post('/auth/register', {
    config,
    schema: {
      tags: ['auth'], operationId: 'register', summary: 'Sign up, and be signed in', body: RegisterBody,
      description: 'With an e-mail address, a username or both. Sets the refresh cookie and the device cookie.',
      response: {
        201: answer(UserTokens, 'signed up and signed in', { msg: 'user created', user: exampleUser, ...exampleTokens }, setsSignInCookies),
      },
      problems: registerProblems,
    },
    preParsing: refuseOverload(app),
  }, async (request, reply) => {
    const result = await register(app, request.body, markedDeviceOf(request), request.refreshCookies());
    if (result.outcome === 'weak_password') throw problems.invalidInput([{ pointer: '/password', detail: result.fault }]);
    if (result.outcome === 'taken') throw problems.identifierTaken(result.fields);
    const about = { user_id: result.user.id, session_id: result.issued.sessionId, ip: request.ip };
    request.log.info({ event: 'registered', ...about, ...logReplaced(app, request, result.presented) }, 'registered');
    reply.code(201);
    return { msg: 'user created', ...answerSignIn(app, request, reply, result) };
  });
};
export default registrationRoutes;

const quietRegistrationRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.post('/auth/register', {
    config: limitCredentials(app),
    schema: {
      tags: ['auth'], operationId: 'register', summary: 'Sign up, and get a mail', body: QuietRegisterBody,
      description: 'The answer is the same for an address that has an account, whose owner is told by mail. Nobody is signed in before the address is verified, and until then the username is not held. Sets a cookie by which the address can be verified without the password. An account that is not verified is deleted a week after its link has expired.',
      response: { 202: answer(Message, 'a mail is on its way', { msg }, setsRegistrantCookie) },
      problems: registerProblems,
    },
    preParsing: refuseOverload(app),
  }, async (request, reply) => {
    const result = await registerQuietly(app, request.body, markedDeviceOf(request));
    if (result.outcome === 'weak_password') throw problems.invalidInput([{ pointer: '/password', detail: result.fault }]);
    if (result.outcome === 'taken') throw problems.identifierTaken(result.fields);
    request.log.info({ event: result.outcome, user_id: result.userId, ip: request.ip }, result.outcome === 'registered' ? 'registered' : 'told the owner of an address that has an account');
    reply.code(202).setRegistrantCookie(result.newId);
    return { msg };
  });
};
