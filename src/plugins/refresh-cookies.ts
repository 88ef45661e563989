import cookie from '@fastify/cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

const NAME = 'refresh_token';
const MAX_COOKIES_TRIED = 3;

/**
 * The refresh cookie: httpOnly, host-only and, over https, with the __Host- prefix (ASVS 3.3). Its Max-Age runs to the
 * absolute end of the session, so it shrinks with every refresh.
 */
export default fp(async (app) => {
  const { cookie: { sameSite, secure }, production } = app.config;
  let warned = false;
  await app.register(cookie, { hook: false });

  const isSecure = (request: FastifyRequest) =>
    secure === 'always' || (secure === 'auto' && (production || request.protocol === 'https' || sameSite === 'none'));
  const nameFor = (request: FastifyRequest) => (isSecure(request) ? `__Host-${NAME}` : NAME);
  const attributesFor = (request: FastifyRequest) => ({
    httpOnly: true, path: '/', sameSite, secure: isSecure(request), partitioned: sameSite === 'none',
  });

  /** Every value under the cookie's name, for the order of duplicates means nothing (RFC 6265bis §4.2.2); newest generation first. */
  app.decorateRequest('refreshCookies', function refreshCookies(this: FastifyRequest): string[] {
    const prefix = `${nameFor(this)}=`;
    const values = (this.headers.cookie ?? '').split(';').map((pair) => pair.trim())
      .filter((pair) => pair.startsWith(prefix)).map((pair) => pair.slice(prefix.length));
    const generation = (token: string) => Number(token.split('.')[2]) || 0;
    return [...new Set(values)].filter(Boolean).sort((a, b) => generation(b) - generation(a)).slice(0, MAX_COOKIES_TRIED);
  });

  app.decorateReply('setRefreshCookie', function setRefreshCookie(this: FastifyReply, token: string, sessionExpiresAt: number) {
    if (!isSecure(this.request) && !warned) {
      warned = true;
      app.log.warn({ event: 'insecure_cookie' }, 'the refresh cookie goes out without Secure, because this is plain http outside production');
    }
    const maxAge = Math.max(0, Math.floor((sessionExpiresAt - app.now()) / 1000));
    return this.setCookie(nameFor(this.request), token, { ...attributesFor(this.request), maxAge });
  });

  app.decorateReply('clearRefreshCookie', function clearRefreshCookie(this: FastifyReply) {
    return this.clearCookie(nameFor(this.request), attributesFor(this.request));
  });
}, { name: 'refresh-cookies' });

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
