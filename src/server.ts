import './thread-pool.ts';
import closeWithGrace from 'close-with-grace';
import { type App, buildApp } from './app.ts';
import { type Config, ConfigError, describeDatabase, loadConfig } from './config.ts';

/** How long the end may take, beside SHUTDOWN_DELAY_SECONDS. */
const GRACE_MS = 10_000;

/** What a newcomer wants to know, in words; a production log stays JSON to the last line. */
function welcome(config: Config, address: string): string {
  const url = address.replace('[::1]', 'localhost').replace('127.0.0.1', 'localhost');
  const post = (path: string) => `curl -X POST ${url}${path} -H 'content-type: application/json' -d`;
  return `
Keyturn listens on ${url}
  open  ${url}/demo${config.docs ? `, and ${url}/docs for the documentation` : ''}
  data  ${describeDatabase(config.database)}
${config.secrets.files.map((file) => `  key   ${file}`).join('\n')}

Or try it here:
  ${post('/auth/register')} '{"email":"john@example.com","password":"quiet rivers carry old songs"}'
  ${post('/auth/login')} '{"email":"john@example.com","password":"quiet rivers carry old songs"}'
  curl ${url}/users/me -H 'authorization: Bearer <access_token>'
`;
}

/** Whoever reads the log is gone. A server whose attacks nobody sees must not go on: it ends, and says so where it still can. */
function endWithoutLog() {
  let lost = false;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (lost) return;
    lost = true;
    console.error(`The log cannot be written (${error.code}): the server ends.`);
    throw error; // to closeWithGrace
  });
}

async function main() {
  process.umask(0o077); // what it writes is for its own user only
  endWithoutLog();
  const config = loadConfig(process.env);
  const running: { app?: App } = {};
  closeWithGrace({ delay: config.shutdownDelayMs + GRACE_MS, logger: false }, async ({ err, signal }) => {
    const { app } = running;
    if (err && !app) console.error(err);
    if (!app) return;
    if (err) app.log.fatal({ event: 'crash', err }, 'an unexpected error ends the process');
    else app.log.info({ event: 'stopping', signal }, 'finishing what is in flight');
    if (!err) await app.drain();
    await app.close();
  });
  const app = await buildApp(config);
  running.app = app;
  const address = await app.listen({ host: config.host, port: config.port });
  app.log.info({ event: 'started', address, data: describeDatabase(config.database), keys: config.secrets.files }, 'started');
  if (!config.production) console.log(welcome(config, address));
}

main().catch((error: unknown) => {
  console.error(error instanceof ConfigError ? `Keyturn cannot start. ${error.message}` : error);
  process.exit(1);
});
