import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { deleteAccount, updateProfile } from '../core/profiles.ts';
import { limitCredentials } from '../plugins/rate-limits.ts';
import { problems } from '../problems.ts';
import { answer, bearer, bearerProblems, eitherIdentifier, Email, exampleUser, Password, passwordProblems, toUser, User, Username } from '../schemas.ts';
import { refuseUnconfirmed } from './passwords.ts';
import { markedDeviceOf } from './token-answers.ts';

const UpdateBody = Type.Object({ username: Type.Optional(Username), email: Type.Optional(Email), password: Password }, {
  additionalProperties: false,
  anyOf: eitherIdentifier,
  examples: [{ username: 'john_doe', email: 'john.doe@example.com', password: 'quiet rivers carry old songs' }],
});
const DeleteBody = Type.Object({ password: Password }, { additionalProperties: false, examples: [{ password: 'quiet rivers carry old songs' }] });

const confirmProblems = [
  problems.invalidCredentials(), problems.tooManyAttempts(42), problems.invalidInput([{ pointer: '/password', detail: 'is required' }]), ...bearerProblems, ...passwordProblems,
];

/** The signed-in user. */
const userRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const config = limitCredentials(app);

  app.get('/users/me', {
    schema: {
      tags: ['users'], operationId: 'getMe', summary: 'The signed-in user', security: bearer,
      response: { 200: answer(User, 'the user', exampleUser) },
      problems: bearerProblems,
    },
    preParsing: app.authenticate,
  }, async (request) => toUser(request.auth.user));

  app.patch('/users/me', {
    config,
    schema: {
      tags: ['users'], operationId: 'updateMe', summary: 'Change one’s username or e-mail address', security: bearer, body: UpdateBody,
      description: 'A username changes at once. A new address counts once it is verified by the link that is mailed to it; the present one is told. A change of address that is still to be verified ends when you ask for another address, or for your present one.',
      response: {
        200: answer(User, 'the user, still with the old address', { ...exampleUser, username: 'john_doe' }),
      },
      problems: [problems.identifierTaken(['email']), problems.mailOff(), ...confirmProblems],
    },
    preParsing: app.authenticate,
  }, async (request) => {
    if (request.body.email !== undefined && !app.config.mail.enabled) throw problems.mailOff();
    const result = await updateProfile(app, request.auth, request.body, markedDeviceOf(request));
    if (result.outcome === 'taken') throw problems.identifierTaken(result.fields);
    if (result.outcome !== 'updated') throw refuseUnconfirmed(request, 'profile_change_refused', result);
    const who = { user_id: result.user.id, ip: request.ip };
    if (result.renamed) request.log.info({ event: 'username_changed', ...who }, 'changed a username');
    if (result.withdrawn) request.log.info({ event: 'email_change_withdrawn', ...who }, 'gave up a change of address that was asked for before');
    if (result.asked) request.log.info({ event: 'email_change_requested', ...who }, 'asked for another address');
    return toUser(result.user);
  });

  app.delete('/users/me', {
    config,
    schema: {
      tags: ['users'], operationId: 'deleteMe', summary: 'Delete one’s account', security: bearer, body: DeleteBody,
      description: 'With its sessions, at once and for good.',
      response: { 204: Type.Null({ description: 'deleted' }) },
      problems: confirmProblems,
    },
    preParsing: app.authenticate,
  }, async (request, reply) => {
    const { user, session } = request.auth;
    const result = await deleteAccount(app, user, session, request.body.password, markedDeviceOf(request));
    if (result.outcome !== 'deleted') throw refuseUnconfirmed(request, 'account_deletion_refused', result);
    request.log.info({ event: 'account_deleted', user_id: user.id, ip: request.ip }, 'deleted an account');
    return reply.clearRefreshCookie().header('clear-site-data', '"cache"').code(204).send(null);
  });
};
export default userRoutes;
