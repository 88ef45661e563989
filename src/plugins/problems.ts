import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest, FastifySchemaValidationError } from 'fastify';
import fp from 'fastify-plugin';
import { HashNotComputed, PasswordQueueFull } from '../core/hash-queue.ts';
import { type FieldError, Problem, problems, titleOf } from '../problems.ts';
import { DatabaseAway } from '../store/db.ts';

const MAX_FIELD_ERRORS = 20;
/** For answers that no hook has seen: what every other answer gets from the security headers. */
const BARE_HEADERS = {
  'content-type': 'application/problem+json; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
};

/** Turns every error into problem details (RFC 9457): of handlers, validation, parsers, routing and HTTP itself. */
export default fp(async (app) => {
  app.setErrorHandler((error: Partial<FastifyError> & Error, request, reply) => {
    const problem = recordProblem(error, request);
    return reply.code(problem.status).headers(problem.headers).type('application/problem+json').send(serialize(problem, request.id));
  });
  app.decorateRequest('problemCode', null);
  // an Expect that Node.js does not know may be ignored (RFC 9110 §10.1.1); Node itself would answer 417, bare
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
}, { name: 'problems' });

/** The problem that an error is, noted for the log. */
export function recordProblem(error: Partial<FastifyError> & Error, request: FastifyRequest): Problem {
  const problem = toProblem(error);
  if (problem.status >= 500) request.log.error({ event: problem.code, ...(problem !== error && { err: error }) }, problem.message);
  request.problemCode = problem.code;
  return problem;
}

/** What is wrong with a path that the router cannot read; Fastify itself would echo it. No hook sees such a request. */
export function answerFrameworkError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const unreadable = error.code === 'FST_ERR_MAX_PARAM_LENGTH' ? problems.notFound() : problems.badRequest();
  void request.server.countRequest(request).then((overLimit) => {
    const problem = overLimit ?? unreadable;
    return reply.code(problem.status).headers({ ...BARE_HEADERS, ...problem.headers, 'x-request-id': request.id }).send(serialize(problem, request.id));
  });
}

/** What is wrong with bytes that are no HTTP request; written to the socket, for there is no reply to write to. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const problem = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? problems.requestTimeout()
    : error.code === 'HPE_HEADER_OVERFLOW' ? problems.headersTooLarge()
    : problems.badRequest();
  const body = serialize(problem, randomUUID());
  socket.end([
    `HTTP/1.1 ${problem.status} ${titleOf(problem.status)}`,
    ...Object.entries(BARE_HEADERS).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body,
  ].join('\r\n'));
}

function serialize(problem: Problem, requestId: string): string {
  return JSON.stringify(problem.toDocument(requestId));
}

function toProblem(error: Partial<FastifyError> & Error): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof PasswordQueueFull) return problems.overloaded();
  if (error instanceof HashNotComputed) return problems.hashNotComputed();
  if (error.validation) return problems.invalidInput(toFieldErrors(error.validation));
  if (error instanceof DatabaseAway) return problems.databaseAway();
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return problems.unsupportedMediaType();
  if (error.statusCode === 413) return problems.bodyTooLarge();
  if (error.statusCode === 400) return problems.badRequest();
  if (isRefusal(error)) return error.statusCode === 404 ? problems.notFound() : problems.refused(error.statusCode);
  return problems.unexpected();
}

/** Whether Fastify, or a plugin that sends files, refuses what the client wants. Other errors may have a status of their own: it is not ours. */
function isRefusal(error: Partial<FastifyError> & { expose?: boolean }): error is FastifyError & { statusCode: number } {
  const { statusCode = 500 } = error;
  return statusCode >= 400 && statusCode < 500 && (error.expose === true || (error.code ?? '').startsWith('FST_'));
}

function toFieldErrors(validation: FastifySchemaValidationError[]): FieldError[] {
  const ownRules = validation.filter(({ schemaPath }) => !/\/(any|one)Of\//.test(schemaPath));
  return ownRules.slice(0, MAX_FIELD_ERRORS).map(toFieldError);
}

/** Words the rule, and never what was sent: a field that is not allowed is not named. */
function toFieldError({ keyword, instancePath, params, message, schema, parentSchema }: FastifySchemaValidationError & { schema?: unknown; parentSchema?: { properties?: object } }): FieldError {
  if (keyword === 'required') return { pointer: `${instancePath}/${String(params.missingProperty)}`, detail: 'is required' };
  if (keyword === 'additionalProperties') {
    return { pointer: instancePath, detail: `has a field that is not allowed; allowed are ${Object.keys(parentSchema?.properties ?? {}).join(', ')}` };
  }
  if (keyword === 'anyOf') return { pointer: instancePath, detail: `needs ${namesIn(schema)}` };
  if (keyword === 'oneOf') return { pointer: instancePath, detail: `needs either ${namesIn(schema)}, and not both` };
  if (keyword === 'enum') return { pointer: instancePath, detail: `must be one of ${(params.allowedValues as string[]).join(', ')}` };
  return { pointer: instancePath, detail: message ?? 'is not valid' };
}

/** The fields that the choices of an anyOf or oneOf require. */
function namesIn(choices: unknown): string {
  return (choices as { required: string[] }[]).map(({ required }) => required.join(' and ')).join(' or ');
}

declare module 'fastify' {
  interface FastifyRequest {
    /** code of the problem that was answered, for the log */
    problemCode: string | null;
  }
}
