import closeWithGrace from 'close-with-grace';
import { buildApp } from './app.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';

const GRACE_MS = 10_000;

/** What a newcomer wants to know, in words; a production log stays JSON to the last line. */
function welcome(config: Config, address: string): string {
  const url = address.replace('[::1]', 'localhost').replace('127.0.0.1', 'localhost');
  const post = (path: string) => `curl -X POST ${url}${path} -H 'content-type: application/json' -d`;
  return `
Keyturn listens on ${url} (documentation: ${url}/docs)
  data  ${config.database.path}
${config.secrets.files.map((file) => `  key   ${file}`).join('\n')}

Try it:
  ${post('/auth/register')} '{"email":"john@example.com","password":"securepassword123"}'
  ${post('/auth/login')} '{"email":"john@example.com","password":"securepassword123"}'
  curl ${url}/users/me -H 'authorization: Bearer <access_token>'
`;
}

async function main() {
  const config = loadConfig(process.env);
  const app = await buildApp(config);
  closeWithGrace({ delay: GRACE_MS, logger: false }, async ({ err, signal }) => {
    if (err) app.log.fatal({ event: 'crash', err }, 'an unexpected error ends the process');
    else app.log.info({ event: 'stopping', signal }, 'finishing what is in flight');
    await app.close();
  });
  const address = await app.listen({ host: config.host, port: config.port });
  app.log.info({ event: 'started', address, data: config.database.path, keys: config.secrets.files }, 'started');
  if (!config.production) console.log(welcome(config, address));
}

main().catch((error: unknown) => {
  console.error(error instanceof ConfigError ? `Keyturn cannot start. ${error.message}` : error);
  process.exitCode = 1;
});
