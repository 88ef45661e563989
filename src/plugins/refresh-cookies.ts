import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { recognizeToken } from '../core/refresh-tokens.ts';

const NAME = 'refresh_token';
const LOOPBACK = /^(::ffff:)?127\.|^::1$/;
/** Each costs a look-up. Nobody but an attacker has cookies of more sessions. */
const MAX_SESSIONS_TRIED = 8;

/** The refresh cookie. It lives as long as its token. */
export default fp(async (app) => {
  let warned = false;
  let warnedOfHttp = false;

  app.decorateRequest('refreshCookies', function refreshCookies(this: FastifyRequest): string[] {
    const values = this.ownCookies(NAME);
    if (values.length <= 1) return values;
    const newest = new Map<string, { text: string; generation: number }>();
    for (const text of values) {
      const token = recognizeToken(app.config.secrets.derivedKeys, text)?.token;
      if (!token || token.generation < (newest.get(token.sessionId)?.generation ?? 0)) continue;
      newest.set(token.sessionId, { text, generation: token.generation });
    }
    const genuine = Array.from(newest.values(), ({ text }) => text);
    return genuine.length > 0 ? genuine.slice(0, MAX_SESSIONS_TRIED) : values.slice(0, 1); // the one is refused, and logged
  });

  app.decorateReply('setRefreshCookie', function setRefreshCookie(this: FastifyReply, token: string, expiresAt: number) {
    if (!this.request.isSecure() && !warned) {
      warned = true;
      app.log.warn({ event: 'insecure_cookie' }, 'the refresh cookie goes out without Secure, because this is plain http outside production');
    }
    if (app.config.production && !warnedOfHttp && this.request.protocol === 'http' && !LOOPBACK.test(this.request.ip)) {
      warnedOfHttp = true;
      app.log.warn({ event: 'plain_http', ip: this.request.ip },
        'a sign-in came over plain http from another machine: put TLS before the server, and name its proxy in TRUST_PROXY');
    }
    return this.setOwnCookie(NAME, token, Math.max(0, Math.floor((expiresAt - app.now()) / 1000)));
  });

  app.decorateReply('clearRefreshCookie', function clearRefreshCookie(this: FastifyReply) {
    return this.clearOwnCookie(NAME);
  });
}, { name: 'refresh-cookies', dependencies: ['cookies'] });

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The refresh tokens of the request's cookies, the newest of each session. Invented cookies of the same name never hide
     * a genuine one; where there is no genuine one, the first is returned, to be refused.
     */
    refreshCookies(): string[];
  }
  interface FastifyReply {
    /** @param expiresAt epoch milliseconds; the end of the token */
    setRefreshCookie(token: string, expiresAt: number): FastifyReply;
    clearRefreshCookie(): FastifyReply;
  }
}
