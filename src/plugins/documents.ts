import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';

type Options = {
  type: string;
  /** instead of `cache-control: no-cache`, which lets browsers keep the document and ask each time whether it is still the same */
  headers?: Record<string, string>;
  make: () => string | Buffer;
};

/**
 * Handler that answers with a document that is the same for everyone. It is made when it is first asked for, and kept as
 * bytes that all answers share, so that answers that wait for their clients cost nothing. Who has it already gets 304.
 */
export function shareDocument({ type, headers, make }: Options) {
  const read = onceAsked(() => {
    const bytes = Buffer.from(make());
    return { bytes, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` };
  });
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { bytes, etag } = read();
    void reply.headers({ 'cache-control': 'no-cache', ...headers, etag });
    if (names(request.headers['if-none-match'], etag)) return reply.code(304).send();
    return reply.type(type).send(bytes);
  };
}

/** Makes a value when it is first asked for. */
export function onceAsked<Value>(make: () => Value): () => Value {
  let made: { value: Value } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** If-None-Match compares weakly, because a proxy that compresses weakens the tag (RFC 9110 §13.1.2). */
function names(header: string | undefined, etag: string): boolean {
  return (header ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, '')).some((tag) => tag === etag || tag === '*');
}
