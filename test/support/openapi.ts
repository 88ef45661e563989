import { Ajv2020 } from 'ajv/dist/2020.js';
import type { InjectOptions } from 'fastify';
import { startApp } from './app.ts';

export type Media = { schema: object; example?: unknown; examples?: Record<string, { value: object }> };
export type Operation = {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  operationId: string;
  summary: string;
  description?: string;
  tags: string[];
  security?: Record<string, string[]>[];
  parameters?: { name: string; in: string }[];
  requestBody?: { required: boolean; content: Record<string, Media> };
  responses: Record<string, { description: string; content?: Record<string, Media> }>;
};
type Document = { tags: { name: string }[]; paths: Record<string, Record<string, Operation>>; components: object };

export const JSON_TYPE = 'application/json';
export const PROBLEM_TYPE = 'application/problem+json';

/** The app with its OpenAPI document and the operations in it. */
export async function readDocument(env: Record<string, string> = {}) {
  const server = await startApp(env);
  const document = (await server.get('/openapi.json')).json<Document>();
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ ...operation, method: method.toUpperCase() as Operation['method'], path })));
  const find = (id: string) => operations.find(({ operationId }) => operationId === id)!;
  return { ...server, document, operations, find, conforms: validatorOf(document) };
}

/** Says what is wrong with a value by a schema of the document; '' if nothing is. */
function validatorOf(document: Document) {
  const isTime = (text: string) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text);
  const ajv = new Ajv2020({ strict: false, formats: { 'date-time': isTime, email: /^[^@]+@[^@]+$/ } });
  return (schema: object, value: unknown): string => {
    const validate = ajv.compile({ ...schema, components: document.components });
    return validate(value) ? '' : ajv.errorsText(validate.errors);
  };
}

export const successOf = ({ responses }: Operation) => Object.keys(responses).filter((status) => status.startsWith('2'));
export const mediaOf = (operation: Operation, status: number | string, type: string) => operation.responses[status]?.content?.[type];
export const problemsIn = (operation: Operation) => Object.keys(operation.responses).flatMap((status) =>
  Object.keys(mediaOf(operation, status, PROBLEM_TYPE)?.examples ?? {}).map((code) => `${status} ${code}`));
export function examplesOf({ requestBody }: Operation): Record<string, string>[] {
  const { example, examples = {} } = requestBody?.content[JSON_TYPE] ?? { schema: {} };
  return [...(example === undefined ? [] : [example]), ...Object.values(examples).map(({ value }) => value)] as Record<string, string>[];
}
export const nameOf = ({ method, path }: Operation) => `${method} ${path}`;

/** The request that the document describes, with its own example as the body, or what is given of it. */
export function requestFor(operation: Operation, { id = 'unknown', headers = {}, payload = examplesOf(operation)[0] }: { id?: string; headers?: Record<string, string>; payload?: object | undefined } = {}): InjectOptions {
  return { method: operation.method, url: operation.path.replace('{id}', id), headers, ...(payload && { payload }) };
}
