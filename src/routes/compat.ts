import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { answer, bearer, bearerProblems, exampleUser } from '../schemas.ts';

/** The paths of the documents that Keyturn grew from. The same handlers answer them, under the same limits. */
const ALIASES: Record<string, string> = {
  '/register': '/auth/register',
  '/login': '/auth/login',
  '/refresh': '/auth/refresh',
  '/refresh-token': '/auth/refresh',
  '/logout': '/auth/logout',
  '/forgot-password': '/auth/forgot-password',
  '/change-password': '/auth/change-password',
  '/profile': '/users/me',
  '/protected': '/protected',
};

const canonicalPaths = new Map(Object.entries(ALIASES).flatMap(([alias, path]) =>
  [alias, `${alias}/`, `/api${alias}`, `/api${alias}/`].map((spelling) => [spelling, path])));

/** Fastify's `rewriteUrl`: an alias becomes its canonical path before routing; the query stays. */
export function rewriteAlias({ url = '/' }: { url?: string | undefined }): string {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  const canonical = canonicalPaths.get(path);
  return canonical === undefined ? url : canonical + url.slice(path.length);
}

/** The other paths at which a canonical path is answered. */
export function aliasesOf(path: string): string[] {
  return Object.keys(ALIASES).filter((alias) => ALIASES[alias] === path).flatMap((alias) => (alias === path ? [`/api${alias}`] : [alias, `/api${alias}`]));
}

const ProtectedAnswer = Type.Object({ msg: Type.String(), message: Type.String(), user_id: Type.String() }, { additionalProperties: false });
const exampleAnswer = { msg: 'This is a protected endpoint', message: 'Access granted for protected route.', user_id: exampleUser.id };

/** The documents' example of a protected route. */
const compatRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/protected', {
    schema: {
      tags: ['users'], operationId: 'getProtected', summary: 'An example of a protected route', security: bearer,
      response: { 200: answer(ProtectedAnswer, 'signed in', exampleAnswer) },
      problems: bearerProblems,
    },
    preParsing: app.authenticate,
  }, async (request) => ({ msg: 'This is a protected endpoint', message: 'Access granted for protected route.', user_id: request.auth.user.id }));
};
export default compatRoutes;
