import type { RequestListener, Server } from 'node:http';
import type { Socket } from 'node:net';

// An import statement would load all that node:http offers, with a WebSocket client: 25 ms of each start
const { createServer } = process.getBuiltinModule('node:http');

/** Answers of one connection that may be under way or unread at a time. Browsers and proxies never have more than one. */
const MOST_ANSWERS = 10;

/**
 * Makes the HTTP/1.1 server under Fastify, with a bound on all that a client may hold: 10 s for headers, 15 s for the request,
 * 30 s without a byte in either direction, and ten answers that it has not read. An idle connection lives longer than the
 * 60 s for which nginx keeps its own, because a proxy that sends a POST on a connection that ends just then answers 502.
 */
export function createHttpServer(answer: RequestListener): Server {
  const server = createServer({
    headersTimeout: 10_000, requestTimeout: 15_000, keepAliveTimeout: 75_000, connectionsCheckingInterval: 5_000, requireHostHeader: false,
  }, withBound(answer));
  return server.setTimeout(30_000);
}

/**
 * Cuts a connection off at its eleventh request without a read answer. Node.js parses all requests of a chunk at once (64 KiB
 * hold 1,700), and keeps what they and their answers need until the client reads.
 */
function withBound(answer: RequestListener): RequestListener {
  const underWay = new WeakMap<Socket, number>();
  return (request, response) => {
    const { socket } = request;
    const before = underWay.get(socket) ?? 0;
    if (before >= MOST_ANSWERS) return void socket.destroy();
    underWay.set(socket, before + 1);
    response.once('close', () => underWay.set(socket, (underWay.get(socket) ?? 1) - 1));
    answer(request, response);
  };
}
