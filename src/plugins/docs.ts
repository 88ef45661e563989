import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, FastifySchema } from 'fastify';
import fp from 'fastify-plugin';
import { aliasesOf } from '../routes/compat.ts';
import { type Problem, problems, titleOf } from '../problems.ts';
import { ProblemSchema, referTo, sharedSchemas } from '../schemas.ts';
import { shareDocument } from './documents.ts';

const DESCRIPTION = `A self-hosted session server. Every error is \`application/problem+json\` (RFC 9457); beside those that a route lists, unknown
paths answer 404, other methods 405, and requests that are slow or have headers that are too large 408 and 431.

To try it: sign up or in, copy the \`access_token\` of the answer, press **Authorize** and paste it. The refresh token travels in an
httpOnly cookie, which the browser sends by itself; requests that no browser sent get it in the JSON answer, too.`;

const TAGS = [
  { name: 'auth', description: 'Sign up, sign in, stay signed in, sign out' },
  { name: 'sessions', description: 'Where one is signed in' },
  { name: 'users', description: 'The signed-in user' },
  { name: 'server', description: 'Health, and the keys for services that verify access tokens themselves' },
];

const SECURITY_SCHEMES = {
  accessToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'the `access_token` of an answer' },
  refreshToken: { type: 'http', scheme: 'bearer', description: 'the `refresh_token` of an answer; it may come in the body instead' },
  refreshCookie: { type: 'apiKey', in: 'cookie', name: '__Host-refresh_token', description: 'httpOnly; the browser sends it. `refresh_token` on plain http outside production' },
} as const;

const PROBLEM_HEADERS: Record<number, string[]> = {
  401: ['WWW-Authenticate'],
  429: ['Retry-After', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'],
  503: ['Retry-After'],
};

const hidden = { schema: { hide: true } };
const JSON_TYPE = 'application/json; charset=utf-8';
const LOCKED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; script-src 'self'";
const SWAGGER_UI = new URL('../../node_modules/@fastify/swagger-ui/static/', import.meta.url);
const FILE_TYPES: Record<string, string> = { '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.png': 'image/png', '.svg': 'image/svg+xml' };
const SWAGGER_POLICY = `${LOCKED}; img-src 'self' data:; style-src 'self'`;

/** Not there where only production packages are installed. */
const REDOC = new URL('../../node_modules/redoc/bundles/redoc.standalone.js', import.meta.url);
const REDOC_LOGO = 'https://cdn.redoc.ly/redoc/logo-mini.svg';
const PAGE_STYLE = 'body{margin:0}';
/** Our own rule; ReDoc's one for its scroll bars; and the empty element that it fills by script. A new ReDoc may need a new hash. */
const REDOC_STYLES = [digest(PAGE_STYLE), 'QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc=', digest('')];
const REDOC_POLICY = `${LOCKED}; img-src data:; style-src ${REDOC_STYLES.map((hash) => `'sha256-${hash}'`).join(' ')}`;
const redocPage = (script: string) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Keyturn API</title>
<link rel="icon" href="data:,">
<style>${PAGE_STYLE}</style>
</head>
<body><redoc spec-url="/openapi.json" disable-search="true"></redoc><script src="${script}"></script></body>
</html>
`;

type OpenApi = { paths: Record<string, Record<string, Operation>>; components: { securitySchemes: object } };
type Operation = {
  security?: Record<string, string[]>[];
  requestBody?: { required?: boolean; content: Record<string, { schema: { required?: string[]; anyOf?: object[]; oneOf?: object[] } }> };
};
type Answer = { description?: string; headers?: object; examples?: unknown[] };

/** The OpenAPI 3.1 document of all routes, registered before them, and the pages that show it, from local packages (ASVS 3.6.1). */
export default fp(async (app) => {
  for (const schema of sharedSchemas) app.addSchema(schema);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Keyturn', version: '1', description: DESCRIPTION, license: { name: 'MIT', identifier: 'MIT' } },
      tags: TAGS,
      components: { securitySchemes: SECURITY_SCHEMES },
    },
    refResolver: { buildLocalReference: ({ $id }) => $id as string },
    transform: ({ schema, url }) => ({ schema: withProblems(withExamples(withAliases(schema, app.config.compatRoutes ? aliasesOf(url) : []))), url }),
    transformObject: (document) => withOptionalBodies((document as { openapiObject: OpenApi }).openapiObject),
  });
  if (!app.config.docs) return;
  app.get('/openapi.json', hidden, shareDocument({ type: JSON_TYPE, make: () => JSON.stringify(app.swagger()) }));
  await app.register(swaggerPages);

  if (!existsSync(REDOC)) {
    app.log.warn({ event: 'redoc_missing' }, 'there is no /redoc: the package redoc is not installed');
    return;
  }
  app.get('/redoc', hidden, shareDocument({
    type: 'text/html; charset=utf-8',
    headers: { 'content-security-policy': REDOC_POLICY },
    make: () => redocPage(`/redoc/redoc.js?${encodeURIComponent(digest(readRedoc()))}`),
  }));
  app.get('/redoc/redoc.js', hidden, shareDocument({
    type: 'text/javascript; charset=utf-8', headers: { 'cache-control': 'public, max-age=86400' }, make: readRedoc,
  }));
}, { name: 'docs' });

/** Swagger UI. Its handlers write the document and open files for every answer; a hook answers before them, with shared bytes. */
async function swaggerPages(app: FastifyInstance): Promise<void> {
  const files = readdirSync(SWAGGER_UI).filter((name) => extname(name) in FILE_TYPES);
  const documents = new Map([
    ['/docs/json', shareDocument({ type: JSON_TYPE, make: () => JSON.stringify(withAccessTokenOnly(structuredClone(app.swagger()) as OpenApi)) })],
    ['/docs/yaml', shareDocument({ type: 'application/yaml', make: () => app.swagger({ yaml: true }) })],
    ...files.map((name) => [`/docs/static/${name}`, shareDocument({ type: FILE_TYPES[extname(name)] ?? '', make: () => readFileSync(new URL(name, SWAGGER_UI)) })] as const),
  ]);
  app.addHook('preHandler', async (request, reply) => documents.get(request.url.split('?', 1)[0] as string)?.(request, reply));
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: SWAGGER_POLICY,
    theme: { title: 'Keyturn API' },
    uiConfig: { layout: 'BaseLayout', defaultModelsExpandDepth: 0, persistAuthorization: false, tryItOutEnabled: true, validatorUrl: null },
  });
}

/** ReDoc without its one foreign image. */
function readRedoc(): string {
  return readFileSync(REDOC, 'utf8').replace(REDOC_LOGO, 'data:,');
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

function withAliases<Schema extends { description?: string }>(schema: Schema | undefined, aliases: string[]): Schema {
  const own = schema ?? ({} as Schema);
  if (aliases.length === 0) return own;
  const also = `Also at ${aliases.map((alias) => `\`${alias}\``).join(', ')}.`;
  return { ...own, description: own.description ? `${own.description}\n\n${also}` : also };
}

/** Moves the example of each answer beside its schema, for a reference to a schema loses its neighbours. */
function withExamples<Schema extends { response?: unknown }>(schema: Schema): Schema {
  const answers = Object.entries((schema.response ?? {}) as Record<string, Answer>).map(([status, { description, headers, examples, ...body }]) =>
    [status, examples ? { description, headers, content: { 'application/json': { schema: body, example: examples[0] } } } : { description, headers, ...body }]);
  return { ...schema, response: Object.fromEntries(answers) as unknown };
}

/** The error answers of a route: those that it names, and those that any route can give. */
function withProblems<Schema extends FastifySchema>(schema: Schema): Schema {
  const { problems: named, ...rest } = schema;
  if (!named) return schema;
  const byStatus = Map.groupBy([...named, problems.badRequest(), problems.unexpected(), problems.draining()], ({ status }) => status);
  const answers = Object.fromEntries<object>([...byStatus].map(([status, list]) => [status, {
    description: titleOf(status),
    headers: Object.fromEntries<object>((PROBLEM_HEADERS[status] ?? []).map((name) => [name, { type: 'string' }])),
    content: { 'application/problem+json': { schema: referTo(ProblemSchema), examples: Object.fromEntries<object>(list.map(toExample)) } },
  }]));
  return { ...rest, response: { ...(rest.response as object), ...answers } } as Schema;
}

function toExample(problem: Problem): [string, object] {
  return [problem.code, { summary: problem.message, value: problem.toDocument('0b5d6f0e-6a57-4c4e-9f0e-3c1d1f1c5a10') }];
}

/** A body of which nothing is required may be left out. */
function withOptionalBodies(document: OpenApi): OpenApi {
  for (const { requestBody } of operationsOf(document)) {
    const schema = requestBody?.content['application/json']?.schema;
    if (requestBody && schema) requestBody.required = Boolean(schema.required ?? schema.anyOf ?? schema.oneOf);
  }
  return document;
}

/** Authorize asks for the access token alone: a page can neither read a refresh token nor set its cookie. */
function withAccessTokenOnly(document: OpenApi): OpenApi {
  document.components.securitySchemes = { accessToken: SECURITY_SCHEMES.accessToken };
  for (const operation of operationsOf(document)) {
    if (operation.security) operation.security = operation.security.filter((way) => 'accessToken' in way);
  }
  return document;
}

function operationsOf({ paths }: OpenApi): Operation[] {
  return Object.values(paths).flatMap((methods) => Object.values(methods));
}

declare module 'fastify' {
  interface FastifySchema {
    /** The problems that the route can answer, for its documentation: they are written elsewhere, and need no serializer. */
    problems?: Problem[];
  }
}
