import { randomUUID } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { LogController } from 'fastify';
import type { Config } from './config.ts';
import { isEmail } from './core/identifiers.ts';
import { createHttpServer } from './http-server.ts';
import { cut, describeError } from './log-errors.ts';
import { writeByTurn } from './log-output.ts';
import accessTokens from './plugins/access-tokens.ts';
import cookies from './plugins/cookies.ts';
import core from './plugins/core.ts';
import decoys from './plugins/decoys.ts';
import databaseClock, { type Correction } from './plugins/database-clock.ts';
import deviceCookies from './plugins/device-cookies.ts';
import docs from './plugins/docs.ts';
import draining from './plugins/draining.ts';
import jsonBody from './plugins/json-body.ts';
import mail from './plugins/mail.ts';
import metrics from './plugins/metrics.ts';
import origins from './plugins/origins.ts';
import problems, { answerClientError, answerFrameworkError } from './plugins/problems.ts';
import rateLimits from './plugins/rate-limits.ts';
import refreshCookies from './plugins/refresh-cookies.ts';
import registrantCookies from './plugins/registrant-cookies.ts';
import repeats from './plugins/repeats.ts';
import requestLog from './plugins/request-log.ts';
import routing, { routeMethods } from './plugins/routing.ts';
import securityHeaders from './plugins/security-headers.ts';
import store from './plugins/store.ts';
import accountRoutes from './routes/accounts.ts';
import browserRoutes from './routes/browser.ts';
import compatRoutes, { rewriteAlias } from './routes/compat.ts';
import emailRoutes from './routes/emails.ts';
import linkPageRoutes from './routes/link-pages.ts';
import passwordRoutes from './routes/passwords.ts';
import registrationRoutes from './routes/registrations.ts';
import serverRoutes from './routes/server.ts';
import sessionRoutes from './routes/sessions.ts';
import userRoutes from './routes/users.ts';

export type App = Awaited<ReturnType<typeof buildApp>>;

type World = {
  /** epoch milliseconds; without it the machine's clock, on PostgreSQL corrected to the database's */
  now?: () => number;
  /** takes the log's lines */
  logTo?: { write(line: string): void };
  /** takes the mails where there is no SMTP_URL */
  printMail?: (text: string) => void;
};

/** The whole system, ready to listen or to be injected into. */
export async function buildApp(config: Config, { now, logTo = writeByTurn(process.stdout), printMail = console.log }: World = {}) {
  const app = Fastify({
    logger: {
      level: config.logLevel, timestamp: () => `,"time":"${new Date().toISOString()}"`, stream: logTo,
      serializers: { err: (error) => describeError(error), ip: cut, origin: cut },
    },
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    genReqId: () => randomUUID(),
    trustProxy: config.trustProxy,
    bodyLimit: 16 * 1024,
    pluginTimeout: 0, // a migration may take an hour
    serverFactory: createHttpServer,
    return503OnClosing: false,
    clientErrorHandler: answerClientError,
    frameworkErrors: answerFrameworkError,
    ajv: {
      customOptions: { coerceTypes: false, removeAdditional: false, allErrors: true, verbose: true, validateSchema: !config.production },
      onCreate: (ajv) => void ajv.addFormat('email', (text) => isEmail(text)),
    },
    routerOptions: { ignoreTrailingSlash: true },
    ...(config.compatRoutes && { rewriteUrl: rewriteAlias }),
  }).withTypeProvider<TypeBoxTypeProvider>();

  const correction: Correction = { offsetMs: 0 };
  await app.register(core, { config, now: now ?? (() => Date.now() + correction.offsetMs) });
  await app.register(metrics);
  await app.register(problems);
  await app.register(requestLog);
  await app.register(securityHeaders);
  await app.register(draining);
  await app.register(rateLimits);
  await app.register(origins);
  await app.register(jsonBody);
  await app.register(store);
  if (!now) await app.register(databaseClock, { correction });
  await app.register(decoys);
  await app.register(mail, { printMail });
  await app.register(cookies);
  await app.register(refreshCookies);
  await app.register(repeats);
  await app.register(deviceCookies);
  await app.register(registrantCookies);
  await app.register(accessTokens);
  await app.register(routeMethods);
  await app.register(docs);

  await app.register(registrationRoutes);
  await app.register(accountRoutes);
  await app.register(passwordRoutes);
  await app.register(emailRoutes);
  await app.register(sessionRoutes);
  await app.register(userRoutes);
  await app.register(serverRoutes);
  if (config.mail.enabled && config.mail.appUrl === null) await app.register(linkPageRoutes);
  await app.register(browserRoutes);
  if (config.compatRoutes) await app.register(compatRoutes);
  await app.register(routing);

  await app.ready();
  return app;
}
