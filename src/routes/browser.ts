import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import type { FastifyInstance } from 'fastify';
import { onceAsked, shareDocument } from '../plugins/documents.ts';

const DEMO_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; "
  + "img-src data:; require-trusted-types-for 'script'; trusted-types 'none'";
/** A page anywhere may import the client; which pages may then use the server is said by ALLOWED_ORIGINS. */
const forEveryOrigin = { cors: { origin: '*', credentials: false, exposedHeaders: null } } as const;
/** For whoever opens a server that has no page. */
const WELCOME = { msg: 'This is a session server for apps. GET /health says whether it can serve.' };
const hidden = { schema: { hide: true } };

/** The browser client for pages without a bundler; and outside production the page that shows what it does. */
export default async function browserRoutes(app: FastifyInstance): Promise<void> {
  const { production, docs } = app.config;
  const page = !production ? '/demo' : docs ? '/docs' : null;
  const client = shareDocument({
    type: 'text/javascript; charset=utf-8',
    headers: { 'cache-control': 'public, max-age=300', 'cross-origin-resource-policy': 'cross-origin' },
    make: () => readModule('../client/client.ts'),
  });
  app.get('/client.js', { ...hidden, config: forEveryOrigin }, async (request, reply) => client(request, reply));
  app.get('/', { ...hidden, exposeHeadRoute: false }, async (_request, reply) => (page === null ? WELCOME : reply.redirect(page)));
  if (production) return;

  // Stripping types loads a compiler, which a server that nobody asks for the page does without
  const script = onceAsked(() => readModule('../demo/demo.ts'));
  const files = { '/demo': () => read('../demo/demo.html'), '/demo/demo.js': script, '/demo/demo.css': () => read('../demo/demo.css') };
  const types = { html: 'text/html', js: 'text/javascript', css: 'text/css' };
  for (const [path, text] of Object.entries(files)) {
    const type = types[(path.split('.')[1] ?? 'html') as keyof typeof types];
    app.get(path, hidden, async (_request, reply) => reply.header('content-security-policy', DEMO_POLICY).type(`${type}; charset=utf-8`).send(text()));
  }
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
