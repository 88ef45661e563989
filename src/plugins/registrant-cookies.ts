import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { addRegistrantMark } from '../core/registrants.ts';
import { UNVERIFIED_KEPT_MS } from '../core/registrations.ts';

const NAME = 'registrant';

/**
 * The cookie of the browser that registered an account whose address must be verified first. It shows, with the mailed
 * link, that the same person registered and reads the mailbox. Registering sets it in the same way for taken addresses.
 */
export default fp(async (app) => {
  const maxAgeSeconds = Math.ceil((app.config.mail.verificationMs + UNVERIFIED_KEPT_MS) / 1000);

  app.decorateRequest('registrantMarks', function registrantMarks(this: FastifyRequest): string[] {
    return this.ownCookies(NAME);
  });

  app.decorateReply('setRegistrantCookie', function setRegistrantCookie(this: FastifyReply, userId: string) {
    return this.setOwnCookie(NAME, addRegistrantMark(app, this.request.registrantMarks(), userId), maxAgeSeconds);
  });
}, { name: 'registrant-cookies', dependencies: ['cookies'] });

declare module 'fastify' {
  interface FastifyRequest {
    /** What this browser has to show for accounts that it registered. */
    registrantMarks(): string[];
  }
  interface FastifyReply {
    setRegistrantCookie(userId: string): FastifyReply;
  }
}
