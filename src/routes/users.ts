import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { bearer, problemAnswers, toUser, User } from '../schemas.ts';

/** The signed-in user. */
const userRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/users/me', {
    schema: {
      tags: ['users'], summary: 'The signed-in user', security: bearer,
      response: { 200: User, ...problemAnswers(401) },
    },
    preParsing: app.authenticate,
  }, async (request) => toUser(request.auth.user));
};
export default userRoutes;
