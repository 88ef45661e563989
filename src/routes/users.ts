import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { answer, bearer, bearerProblems, exampleUser, problemAnswers, toUser, User } from '../schemas.ts';

/** The signed-in user. */
const userRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/users/me', {
    schema: {
      tags: ['users'], operationId: 'getMe', summary: 'The signed-in user', security: bearer,
      response: { 200: answer(User, 'the user', exampleUser), ...problemAnswers(...bearerProblems) },
    },
    preParsing: app.authenticate,
  }, async (request) => toUser(request.auth.user));
};
export default userRoutes;
