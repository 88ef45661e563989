import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import type { FastifyInstance } from 'fastify';

const DEMO_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; "
  + "img-src data:; require-trusted-types-for 'script'; trusted-types 'none'";
/** A page anywhere may import the client; which pages may then use the server is said by ALLOWED_ORIGINS. */
const forEveryOrigin = { cors: { origin: '*', credentials: false, exposedHeaders: null } } as const;
const hidden = { schema: { hide: true } };

/** The browser client for pages without a bundler; and outside production the page that shows what it does. */
export default async function browserRoutes(app: FastifyInstance): Promise<void> {
  const client = onceAsked(() => {
    const text = readModule('../client/client.ts');
    return { text, etag: `"${createHash('sha256').update(text).digest('base64url')}"` };
  });
  app.get('/client.js', { ...hidden, config: forEveryOrigin }, async (request, reply) => {
    const { text, etag } = client();
    reply.header('etag', etag).header('cache-control', 'public, max-age=300').header('cross-origin-resource-policy', 'cross-origin');
    if (names(request.headers['if-none-match'], etag)) return reply.code(304).send();
    return reply.type('text/javascript; charset=utf-8').send(text);
  });
  if (app.config.production) return;

  const files = { '/demo': () => read('../demo/demo.html'), '/demo/demo.js': onceAsked(() => readModule('../demo/demo.ts')), '/demo/demo.css': () => read('../demo/demo.css') };
  const types = { html: 'text/html', js: 'text/javascript', css: 'text/css' };
  for (const [path, text] of Object.entries(files)) {
    const type = types[(path.split('.')[1] ?? 'html') as keyof typeof types];
    app.get(path, hidden, async (_request, reply) => reply.header('content-security-policy', DEMO_POLICY).type(`${type}; charset=utf-8`).send(text()));
  }
  app.get('/', { ...hidden, exposeHeadRoute: false }, async (_request, reply) => reply.redirect('/demo'));
}

/** Stripping types loads a compiler: a start, and a server that nobody asks, do without. */
function onceAsked<Value>(make: () => Value): () => Value {
  let made: { value: Value } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** If-None-Match compares weakly, for a proxy that compresses weakens the tag (RFC 9110 §13.1.2). */
function names(header: string | undefined, etag: string): boolean {
  return (header ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, '')).some((tag) => tag === etag || tag === '*');
}

function read(path: string): string {
  return readFileSync(new URL(path, import.meta.url), 'utf8');
}

/** A module without its types. Node.js would call its own stripping experimental, on standard error, at every start. */
function readModule(path: string): string {
  const host: { emitWarning: unknown } = process;
  const { emitWarning } = host;
  host.emitWarning = () => undefined;
  try {
    return stripTypeScriptTypes(read(path));
  } finally {
    host.emitWarning = emitWarning;
  }
}
