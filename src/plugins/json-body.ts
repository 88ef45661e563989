import type { FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { problems } from '../problems.ts';

/**
 * The one body parser: application/json in well-formed UTF-8. Other types, and text/plain above all, are refused, so that
 * every cross-origin request needs a preflight (ASVS 3.5.2). Bytes that are not UTF-8 are refused instead of becoming
 * U+FFFD, and so are lone surrogates: two passwords must not become one. An empty body counts as none.
 */
export default fp(async (app) => {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  const decoder = new TextDecoder('utf-8', { fatal: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    if (body.length === 0) return done(null, undefined);
    const finish = (error: Error | null, value?: unknown) =>
      error || !isWellFormed(value) ? done(problems.malformedBody()) : done(null, value);
    const charset = /;\s*charset="?([^";]+)/i.exec(request.headers['content-type'] ?? '')?.[1];
    if (charset && charset.toLowerCase() !== 'utf-8') return done(problems.unsupportedMediaType());
    try {
      void parseJson(request, decoder.decode(body), finish);
    } catch {
      finish(problems.malformedBody());
    }
  });
}, { name: 'json-body' });

/** For routes whose body may be left out: hook before validation. */
export async function emptyBodyIsNone(request: FastifyRequest): Promise<void> {
  request.body ??= {};
}

/** Bodies are flat objects of strings; anything deeper is refused by its schema. */
function isWellFormed(body: unknown): boolean {
  return typeof body !== 'object' || body === null || Object.values(body).every((value) => typeof value !== 'string' || value.isWellFormed());
}
