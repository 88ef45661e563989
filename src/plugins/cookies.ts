import cookie from '@fastify/cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

/**
 * Cookies of the server's own: httpOnly, host-only and, over https, with the __Host- prefix (ASVS 3.3). Outside production
 * and on plain http they go out without Secure.
 */
export default fp(async (app) => {
  const { cookie: { sameSite, secure }, production } = app.config;
  await app.register(cookie, { hook: false });

  const isSecure = (request: FastifyRequest) =>
    secure === 'always' || (secure === 'auto' && (production || request.protocol === 'https' || sameSite === 'none'));
  const nameOf = (name: string, request: FastifyRequest) => (isSecure(request) ? `__Host-${name}` : name);
  const attributesFor = (request: FastifyRequest) => ({
    httpOnly: true, path: '/', sameSite, secure: isSecure(request), partitioned: sameSite === 'none',
  });

  app.decorateRequest('ownCookies', function ownCookies(this: FastifyRequest, name: string): string[] {
    const prefix = `${nameOf(name, this)}=`;
    const values = (this.headers.cookie ?? '').split(';').map((pair) => pair.trim())
      .filter((pair) => pair.startsWith(prefix)).map((pair) => pair.slice(prefix.length));
    return [...new Set(values)].filter(Boolean);
  });

  app.decorateReply('setOwnCookie', function setOwnCookie(this: FastifyReply, name: string, value: string, maxAgeSeconds: number) {
    return this.setCookie(nameOf(name, this.request), value, { ...attributesFor(this.request), maxAge: maxAgeSeconds });
  });

  app.decorateReply('clearOwnCookie', function clearOwnCookie(this: FastifyReply, name: string) {
    return this.clearCookie(nameOf(name, this.request), attributesFor(this.request));
  });

  app.decorateRequest('isSecure', function isSecureRequest(this: FastifyRequest) {
    return isSecure(this);
  });
}, { name: 'cookies', dependencies: ['core'] });

declare module 'fastify' {
  interface FastifyRequest {
    /** Every value under the cookie's name, for the order of duplicates means nothing (RFC 6265bis §4.2.2). */
    ownCookies(name: string): string[];
    /** Whether cookies of this request's answer are Secure, and have the __Host- prefix. */
    isSecure(): boolean;
  }
  interface FastifyReply {
    setOwnCookie(name: string, value: string, maxAgeSeconds: number): FastifyReply;
    clearOwnCookie(name: string): FastifyReply;
  }
}
