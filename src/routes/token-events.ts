import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Replaced } from '../core/replaced-sessions.ts';
import type { Refused } from '../core/rotation.ts';
import type { Session } from '../store/sessions.ts';

/** Logs a refresh token that was refused. */
export function logRefused(request: FastifyRequest, { reason, sessionId, userId }: Refused): void {
  const about = { reason, user_id: userId, session_id: sessionId, ip: request.ip };
  request.log.warn({ event: 'refresh_token_refused', ...about }, 'refused a refresh token');
}

/** Logs and counts a reused refresh token, whose session was ended. */
export function logReused({ metrics }: FastifyInstance, request: FastifyRequest, session: Session): void {
  metrics.refreshToken.reused.inc();
  const about = aboutSession(request, session);
  request.log.warn({ event: 'refresh_token_reused', ...about }, 'a superseded refresh token came back after the grace: ended its session');
}

/** Logs what became of the refresh cookies that came along with a sign-in; returns the field that its own line has for them. */
export function logReplaced(app: FastifyInstance, request: FastifyRequest, { replaced, reused, refused }: Replaced) {
  for (const session of reused) logReused(app, request, session);
  for (const token of refused) logRefused(request, token);
  return replaced.length > 0 && { replaced: replaced.map(({ id }) => id) };
}

/** The fields of a line about a session: whose it is, where it was used last, and who asked. */
export function aboutSession({ ip }: FastifyRequest, session: Session) {
  return { user_id: session.userId, session_id: session.id, session_ip: session.ip, ip };
}
