import { randomUUID } from 'node:crypto';
import jwt, { type JWT } from '@fastify/jwt';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { findLiveSession, type Grant, type LiveSession } from '../core/sessions.ts';
import { problems } from '../problems.ts';
import type { SigningKey } from '../secrets.ts';

/** The claims of an access token (RFC 9068); times are epoch seconds. */
export type AccessClaims = { iss: string; aud: string; sub: string; sid: string; jti: string; iat: number; exp: number; auth_time: number; roles: string[] };

const TEXT_CLAIMS = ['iss', 'aud', 'sub', 'sid', 'jti'] as const;
const TIME_CLAIMS = ['iat', 'exp'] as const;
const VERIFIED_TOKENS_REMEMBERED = 5000;
const BEARER = /^Bearer +([\w.~+/-]+=*)$/i;

/**
 * Access tokens: JWTs that live a few minutes and die with their session at once. The first signing key signs; a token is
 * verified by the key whose header it has to the letter, so that algorithm, type and kid are ours or the token is not
 * (RFC 8725 §3.1, §3.11). What was verified is remembered; its expiry and its session are checked on every request.
 */
export default fp(async (app) => {
  const { config: { secrets, jwt: { issuer, audience }, accessTokenMs } } = app;
  const keyring = new Map<string, JWT>();
  for (const key of secrets.signingKeys) {
    await app.register(jwt, options(key, issuer, audience));
    const namespaced = (app.jwt as unknown as Record<string, JWT>)[key.id] as JWT;
    keyring.set(headerOf(namespaced.sign({ exp: 0 })), namespaced);
  }
  const [signer] = keyring.values() as unknown as [JWT];

  function sign(grant: Grant): { token: string; expiresInSeconds: number } {
    const now = app.now();
    const iat = Math.floor(now / 1000);
    const exp = Math.floor(Math.min(now + accessTokenMs, grant.sessionExpiresAt) / 1000);
    const token = signer.sign({
      sub: grant.userId, sid: grant.sessionId, jti: randomUUID(), iat, exp,
      auth_time: Math.floor(grant.authenticatedAt / 1000), roles: grant.roles.split(' ').filter(Boolean),
    });
    return { token, expiresInSeconds: exp - iat };
  }

  // fast-jwt's own cache hashes every token that it is asked about, which costs as much as the look-up of the session
  const verified = new Map<string, AccessClaims>();

  function verify(token: string): AccessClaims | null {
    const known = verified.get(token);
    if (known) return known;
    const claims = verifyAnew(token);
    if (!claims) return null;
    if (verified.size === VERIFIED_TOKENS_REMEMBERED) verified.delete(verified.keys().next().value as string);
    verified.set(token, claims);
    return claims;
  }

  function verifyAnew(token: string): AccessClaims | null {
    try {
      const claims = keyring.get(headerOf(token))?.verify<AccessClaims>(token);
      return claims && isWellTyped(claims) && isCanonical(signatureOf(token)) ? claims : null;
    } catch {
      return null;
    }
  }

  async function authenticate(request: FastifyRequest, _reply: FastifyReply): Promise<void> {
    const token = bearerToken(request);
    if (token === null) throw problems.accessTokenMissing();
    const claims = verify(token);
    if (!claims) throw problems.accessTokenInvalid();
    const auth = claims.exp * 1000 > app.now() ? await findLiveSession(app, claims.sid) : undefined;
    if (auth?.user.id !== claims.sub) {
      claims.exp = 0; // remembered: what was refused stays refused when the clock is set back
      throw problems.accessTokenInvalid();
    }
    request.auth = auth;
  }

  app.decorate('accessTokens', { sign, verify });
  app.decorate('authenticate', authenticate);
  app.decorateRequest('auth', null as never);
}, { name: 'access-tokens' });

/** What the Authorization header carries by the Bearer scheme (RFC 6750 §2.1), `''` if that is malformed, null if it is not there. */
export function bearerToken({ headers: { authorization } }: FastifyRequest): string | null {
  if (authorization === undefined || !/^Bearer\b/i.test(authorization)) return null;
  return BEARER.exec(authorization)?.[1] ?? '';
}

/** The library checks that claims are there, and lets a list pass for its one member, a string for a number, and Infinity for a time. */
function isWellTyped(claims: Record<(typeof TEXT_CLAIMS | typeof TIME_CLAIMS)[number], unknown>): boolean {
  return TEXT_CLAIMS.every((name) => typeof claims[name] === 'string') && TIME_CLAIMS.every((name) => Number.isSafeInteger(claims[name]));
}

/** The last character of base64url may have spare bits, which decoders ignore: without this a signature has several spellings (RFC 4648 §3.5). */
function isCanonical(base64url: string): boolean {
  return Buffer.from(base64url, 'base64url').toString('base64url') === base64url;
}

function signatureOf(token: string): string {
  return token.slice(token.lastIndexOf('.') + 1);
}

function headerOf(token: string): string {
  return token.slice(0, token.indexOf('.'));
}

/** Expiry is not ignored: `authenticate` checks it by the server's clock, and signing out works without. */
function options(key: SigningKey, issuer: string, audience: string) {
  return {
    namespace: key.id,
    secret: { private: key.sign, public: key.verify },
    sign: { algorithm: key.algorithm, kid: key.id, header: { alg: key.algorithm, typ: 'at+jwt' }, iss: issuer, aud: audience },
    verify: {
      algorithms: [key.algorithm], checkTyp: 'at+jwt', allowedIss: issuer, allowedAud: audience,
      requiredClaims: [...TEXT_CLAIMS, ...TIME_CLAIMS], ignoreExpiration: true,
    },
  };
}

declare module 'fastify' {
  interface FastifyInstance {
    accessTokens: {
      sign(grant: Grant): { token: string; expiresInSeconds: number };
      /** the claims of a genuine token, also an expired one; null for anything else */
      verify(token: string): AccessClaims | null;
    };
    /** Hook of routes that need a signed-in user; sets `request.auth`, or throws 401. */
    authenticate: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
  }
  interface FastifyRequest {
    /** the session and user of the access token; set on routes behind `authenticate` */
    auth: LiveSession;
  }
}
