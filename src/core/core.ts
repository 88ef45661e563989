import type { Config } from '../config.ts';
import type { Store } from '../store/store.ts';
import type { DeviceMark } from './devices.ts';
import type { Passwords } from './passwords.ts';

/** What policy needs of the world. The Fastify instance is one; so is whatever a command line puts together. */
export type Core = {
  config: Config;
  store: Store;
  passwords: Passwords;
  /** epoch milliseconds */
  now: () => number;
};

/** Where a request came from, for the owner of a session to recognise it. */
export type Device = { userAgent: string | null; ip: string };

/** The same with what the device has to show for earlier sign-ins. */
export type MarkedDevice = Device & { marks: DeviceMark[] };
