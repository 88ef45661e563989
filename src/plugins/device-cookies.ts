import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { addMark, type DeviceMark, MARK_DAYS, parseMarks } from '../core/devices.ts';
import type { User } from '../store/users.ts';

const NAME = 'device';
const MAX_AGE_SECONDS = MARK_DAYS * 86_400;

/**
 * The device cookie: it signs nobody in, but a device that has it is no stranger to the accounts that signed in there, so
 * that guesses of strangers do not lock it out (OWASP Authentication Cheat Sheet). Only success sets it, nothing clears it.
 */
export default fp(async (app) => {
  app.decorateRequest('deviceMarks', function deviceMarks(this: FastifyRequest): DeviceMark[] {
    return parseMarks(app, this.ownCookies(NAME));
  });

  app.decorateReply('setDeviceCookie', function setDeviceCookie(this: FastifyReply, user: User) {
    return this.setOwnCookie(NAME, addMark(app, this.request.deviceMarks(), user), MAX_AGE_SECONDS);
  });
}, { name: 'device-cookies', dependencies: ['cookies'] });

declare module 'fastify' {
  interface FastifyRequest {
    deviceMarks(): DeviceMark[];
  }
  interface FastifyReply {
    /** For answers to who has just shown or chosen the user's password. The user is as after this request. */
    setDeviceCookie(user: User): FastifyReply;
  }
}
