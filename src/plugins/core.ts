import fp from 'fastify-plugin';
import type { Config } from '../config.ts';
import { chooseArgon2 } from '../core/argon2.ts';
import { createPasswords, type Passwords } from '../core/passwords.ts';

/** What the rest of the system is built on: `config`, `now` (epoch milliseconds) and `passwords`. */
export default fp<{ config: Config; now: () => number }>(async (app, { config, now }) => {
  app.decorate('config', config);
  app.decorate('now', now);
  app.addHook('onReady', async () => { await chooseArgon2(); });
  for (const key of config.secrets.exposedFiles) {
    app.log.warn({ event: 'key_file_exposed', key }, 'others than its owner may read this key file: set its mode to 600');
  }
  app.decorate('passwords', createPasswords(config, (reason) => {
    app.log.warn({ event: 'hibp_unavailable', reason }, 'Have I Been Pwned does not answer: new passwords pass unasked');
  }));
}, { name: 'core' });

declare module 'fastify' {
  interface FastifyInstance {
    config: Config;
    now: () => number;
    passwords: Passwords;
  }
}
