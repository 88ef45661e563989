import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import type { Letter } from '../core/letters.ts';
import { createPostman, type Delivery, type Sent } from '../core/postman.ts';
import { loadTemplates } from './mail-templates.ts';

const LOOK_EVERY_MS = 1000;
/** What is in hand when the server stops may take so long; then it is cut off, and sent after the next start. */
const CLOSE_MS = 3000;

/**
 * Sends what the outbox holds, about a second after it was written: what sending does is not seen in the time of an
 * answer (ASVS 6.3.8). Without SMTP_URL mails are printed, but in production they wait for one until they are given up.
 */
export default fp<{ printMail: (text: string) => void }>(async (app, { printMail }) => {
  const { mail: { smtp, from, enabled, templates } } = app.config;
  const server = smtp && (await import('./smtp.ts')).openSmtp(smtp, from); // nodemailer is loaded only where it is used
  const print = async (letter: Letter): Promise<Sent> => {
    if (!enabled) return { outcome: 'failed', code: 'OFF', reason: 'SMTP_URL is not set' };
    printMail(describe(letter));
    return { outcome: 'sent' };
  };
  const onError = (error: unknown) => app.log.error({ event: 'outbox_failed', err: error }, 'could not read or write the outbox');
  const postman = createPostman(app, {
    templates: loadTemplates(templates), localUrl: () => localUrl(app), send: server ? server.send : print, report: (delivery) => record(app, delivery), onError,
  });
  app.decorate('postman', { deliver: postman.deliver });

  const watch = keepLooking(postman.begin, onError);
  app.addHook('onReady', async () => watch.start());
  app.addHook('onClose', async () => {
    watch.stop();
    const cut = setTimeout(() => server?.close({ force: true }), CLOSE_MS);
    await postman.close();
    clearTimeout(cut);
    server?.close();
  });
}, { name: 'mail', dependencies: ['core', 'metrics', 'store'] });

/** Looks about every second. Two looks never overlap, none keeps the process alive, and of failures in a row the first is told. */
function keepLooking(look: () => Promise<void>, onError: (error: unknown) => void) {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let failing = false;
  const wait = () => {
    if (!stopped) timer = setTimeout(() => void run(), LOOK_EVERY_MS * (0.5 + Math.random())).unref();
  };
  async function run() {
    try {
      await look();
      failing = false;
    } catch (error) {
      if (!failing) onError(error);
      failing = true;
    }
    wait();
  }
  return {
    start: wait,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** Outside production, where neither APP_URL nor PUBLIC_URL is set. */
function localUrl(app: FastifyInstance): string {
  const address = app.server.address();
  return `http://localhost:${address !== null && typeof address === 'object' ? address.port : app.config.port}`;
}

function describe({ to, subject, text }: Letter): string {
  return `\n─── mail (not sent: there is no SMTP_URL) ───\nTo: ${to}\nSubject: ${subject}\n\n${text}\n───\n`;
}

/** No address and no link: only what happened to which mail (ASVS 16.2.5). */
function record({ log, metrics, now }: FastifyInstance, delivery: Delivery) {
  const { mail: { id, template, attempts, createdAt } } = delivery;
  const about = { mail_id: id, template, attempts };
  metrics.mails.inc({ outcome: delivery.outcome });
  if (delivery.outcome === 'sent') {
    log.info({ event: 'mail_sent', ...about }, 'sent a mail');
  } else if (delivery.outcome === 'failed') {
    const { code, reason, retryAt } = delivery;
    log.warn({ event: 'mail_failed', ...about, code, reason, retry_in_s: Math.round((retryAt - now()) / 1000) }, 'could not send a mail; it is tried again');
  } else {
    log.error({ event: 'mail_given_up', ...about, reason: delivery.reason, age_s: Math.round((now() - createdAt) / 1000) }, 'gave a mail up');
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    /** `deliver` sends what is due now, and resolves when it is sent, postponed or given up */
    postman: { deliver(): Promise<void> };
  }
}
