import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

const NAME = 'refresh_token';
const MAX_COOKIES_TRIED = 3;

/** The refresh cookie. Its Max-Age runs to the absolute end of the session, so it shrinks with every refresh. */
export default fp(async (app) => {
  let warned = false;

  /** The newest generation first. */
  app.decorateRequest('refreshCookies', function refreshCookies(this: FastifyRequest): string[] {
    const generation = (token: string) => Number(token.split('.')[2]) || 0;
    return this.ownCookies(NAME).sort((a, b) => generation(b) - generation(a)).slice(0, MAX_COOKIES_TRIED);
  });

  app.decorateReply('setRefreshCookie', function setRefreshCookie(this: FastifyReply, token: string, sessionExpiresAt: number) {
    if (!this.request.isSecure() && !warned) {
      warned = true;
      app.log.warn({ event: 'insecure_cookie' }, 'the refresh cookie goes out without Secure, because this is plain http outside production');
    }
    return this.setOwnCookie(NAME, token, Math.max(0, Math.floor((sessionExpiresAt - app.now()) / 1000)));
  });

  app.decorateReply('clearRefreshCookie', function clearRefreshCookie(this: FastifyReply) {
    return this.clearOwnCookie(NAME);
  });
}, { name: 'refresh-cookies', dependencies: ['cookies'] });

declare module 'fastify' {
  interface FastifyRequest {
    refreshCookies(): string[];
  }
  interface FastifyReply {
    /** @param sessionExpiresAt epoch milliseconds */
    setRefreshCookie(token: string, sessionExpiresAt: number): FastifyReply;
    clearRefreshCookie(): FastifyReply;
  }
}
