import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { anyone, PASSWORD, temporaryFolder } from '../support/app.ts';
import { type Server, startServer } from '../support/server.ts';

const MEGABYTE = 1_048_576;
const LIMIT_MB = 200;
const LONGEST_HEAD = 2000;
const DOCUMENTS = ['/openapi.json', '/docs/json', '/docs/yaml', '/redoc/redoc.js', '/docs/static/swagger-ui-bundle.js', '/client.js', '/%'];

function memoryOf({ child: { pid } }: Server): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024 / MEGABYTE;
}

/** A connection of a client that sends and does not read. */
function openUnread({ url }: Server, localAddress = '127.0.0.1'): Socket {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), localAddress });
  socket.pause();
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  return socket;
}

/** Signs up and in, again and again, while the connections are held. Yields the most memory that the server had, in MB. */
async function serveOthers(server: Server, rounds: number): Promise<number> {
  let most = 0;
  for (let round = 0; round < rounds; round += 1) {
    const credentials = { email: anyone(), password: PASSWORD };
    expect((await server.post('/auth/register', credentials)).status).toBe(201);
    expect((await server.post('/auth/login', credentials)).status).toBe(200);
    most = Math.max(most, memoryOf(server));
  }
  return most;
}

const start = () => startServer({ DATA_DIR: temporaryFolder(), HOST: '127.0.0.1' });
const requestsFor = (path: string, count: number) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(count);

test.each(DOCUMENTS)('eight clients that ask for %s 600 times at once and read nothing: under 200 MB, and everybody else is served', async (path) => {
  const server = await start();
  for (let client = 1; client <= 8; client += 1) openUnread(server, `127.0.0.${client}`).write(requestsFor(path, 600));
  expect(await serveOthers(server, 50)).toBeLessThan(LIMIT_MB);
});

test('a hundred clients that each ask for as many large documents as one may, and read nothing: the same', async () => {
  const server = await start();
  const clients = Array.from({ length: 100 }, (_, index) => openUnread(server, `127.0.1.${index + 1}`));
  for (const client of clients) client.write(DOCUMENTS.map((path) => requestsFor(path, 1)).join(''));
  expect(await serveOthers(server, 50)).toBeLessThan(LIMIT_MB);
  expect(clients.filter(({ closed }) => closed)).toHaveLength(0);
});

test('fifty clients that read slowly, and ask for a document again for each that they have read: the same', async () => {
  const server = await start();
  const length = (await (await server.get('/openapi.json')).arrayBuffer()).byteLength + LONGEST_HEAD;
  const stopped = new AbortController();
  onTestFinished(() => { stopped.abort(); });
  const clients = Array.from({ length: 50 }, (_, index) => openUnread(server, `127.0.2.${index + 1}`));
  const readSlowly = async (client: Socket) => {
    for (let sent = 0, read = 0; !stopped.signal.aborted;) {
      await setImmediate();
      if (sent - read / length < 9) {
        client.write(requestsFor('/openapi.json', 1));
        sent += 1;
      }
      read += (client.read(100) as Buffer | null)?.length ?? 0;
    }
  };
  for (const client of clients) void readSlowly(client);
  expect(await serveOthers(server, 50)).toBeLessThan(LIMIT_MB);
  expect(clients.filter(({ closed }) => closed)).toHaveLength(0);
});
