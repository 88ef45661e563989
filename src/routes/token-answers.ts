import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Device, MarkedDevice } from '../core/core.ts';
import type { Issued } from '../core/sessions.ts';
import { isFromBrowser } from '../plugins/origins.ts';
import { toUser } from '../schemas.ts';
import type { User } from '../store/users.ts';

const MAX_USER_AGENT = 256;

export function deviceOf(request: FastifyRequest): Device {
  const { headers, ip } = request;
  return { userAgent: headers['user-agent']?.slice(0, MAX_USER_AGENT) ?? null, ip };
}

export function markedDeviceOf(request: FastifyRequest): MarkedDevice {
  return { ...deviceOf(request), marks: request.deviceMarks() };
}

/** The answer to a sign-in: the user and the tokens, and the device is known to the account from now on. */
export function answerSignIn(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply, { user, issued }: { user: User; issued: Issued }) {
  const tokens = answerTokens(app, request, reply, issued);
  reply.setDeviceCookie(user);
  return { user: toUser(user), ...tokens };
}

/**
 * The tokens of an answer: the refresh token goes into its cookie, and into the body only for a request that no browser
 * sent and that did not bring it by cookie. So a page's script can never read one (ASVS 3.3.4).
 */
export function answerTokens(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply, issued: Issued, cameByCookie = false) {
  const { token, expiresInSeconds } = app.accessTokens.sign(issued);
  reply.setRefreshCookie(issued.refreshToken, issued.refreshTokenExpiresAt);
  const mode = app.config.refreshTokenInBody;
  const inBody = mode === 'always' || (mode === 'auto' && !cameByCookie && !isFromBrowser(request));
  return {
    access_token: token,
    token_type: 'bearer' as const,
    expires_in: expiresInSeconds,
    ...(inBody && { refresh_token: issued.refreshToken }),
  };
}
