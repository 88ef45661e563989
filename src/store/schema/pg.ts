import { sql } from '../drizzle.ts';
import { bigint, index, pgTable, text } from '../drizzle-pg.ts';

const integer = (name: string) => bigint(name, { mode: 'number' });

export const users = pgTable('users', {
  id: text('id').primaryKey(),
  email: text('email').unique(),
  username: text('username'),
  /** the username in the form in which it is compared */
  usernameKey: text('username_key').unique(),
  passwordHash: text('password_hash').notNull(),
  /** separated by spaces */
  roles: text('roles').notNull(),
  emailVerifiedAt: integer('email_verified_at'),
  passwordChangedAt: integer('password_changed_at').notNull(),
  createdAt: integer('created_at').notNull(),
  /** the last sign-in; writing it is what makes a sign-in and a change of the password exclude each other */
  lastSignedInAt: integer('last_signed_in_at'),
  /** an account whose address is not verified by then is deleted; null: it stays */
  verifyBy: integer('verify_by'),
}, (table) => [
  index('users_verify_by').on(table.verifyBy).where(sql`verify_by IS NOT NULL`),
]);

/** One row per sign-in, for its whole life; refreshing updates it. */
export const sessions = pgTable('sessions', {
  id: text('id').primaryKey(),
  userId: text('user_id').notNull().references(() => users.id, { onDelete: 'cascade' }),
  /** SHA-256 of the current token of the chain; the token itself is nowhere in the store */
  tokenHash: text('token_hash').notNull(),
  generation: integer('generation').notNull(),
  /** when the current window of rotations began; a window is at least one grace long */
  windowStartedAt: integer('window_started_at').notNull(),
  /** the generation at which the current window began */
  windowGeneration: integer('window_generation').notNull(),
  /** the generation at which the window before the current one began */
  previousGeneration: integer('previous_generation').notNull(),
  /** when the current token took the place of the one before */
  rotatedAt: integer('rotated_at').notNull(),
  idleExpiresAt: integer('idle_expires_at').notNull(),
  expiresAt: integer('expires_at').notNull(),
  revokedAt: integer('revoked_at'),
  revokedReason: text('revoked_reason'),
  keyId: text('key_id').notNull(),
  userAgent: text('user_agent'),
  ip: text('ip').notNull(),
  createdAt: integer('created_at').notNull(),
  lastUsedAt: integer('last_used_at').notNull(),
}, (table) => [
  // the only one that begins with the user, so that no planner can choose one that reads what was ended
  index('sessions_by_user').on(table.userId, table.revokedAt, table.createdAt, table.id),
  index('sessions_expires_at').on(table.expiresAt),
]);

/** Tokens of mailed links. A user may have several; an expired one is kept for a while, because it can ask for another mail. */
export const oneTimeTokens = pgTable('one_time_tokens', {
  userId: text('user_id').notNull().references(() => users.id, { onDelete: 'cascade' }),
  purpose: text('purpose').notNull(),
  /** SHA-256 of the token; the token itself is nowhere in the store */
  tokenHash: text('token_hash').primaryKey(),
  /** the address that the token was sent to, and that it proves */
  email: text('email').notNull(),
  createdAt: integer('created_at').notNull(),
  expiresAt: integer('expires_at').notNull(),
}, (table) => [
  index('one_time_tokens_of_user').on(table.userId, table.purpose),
  index('one_time_tokens_expires_at').on(table.expiresAt),
]);

/** The outbox: a mail is written with its cause, and deleted when the mail server has taken it, or when it is given up. */
export const mails = pgTable('mails', {
  id: text('id').primaryKey(),
  template: text('template').notNull(),
  recipient: text('recipient').notNull(),
  /** what the template is filled with, as JSON; no secrets */
  data: text('data').notNull(),
  /** from which, with the key of that name, the token of the link is made when the mail is sent; null where there is none */
  tokenSeed: text('token_seed'),
  keyId: text('key_id'),
  attempts: integer('attempts').notNull(),
  dueAt: integer('due_at').notNull(),
  expiresAt: integer('expires_at').notNull(),
  createdAt: integer('created_at').notNull(),
}, (table) => [
  index('mails_due_at').on(table.dueAt),
]);

/** Failed attempts in a row, by a hash of what was attempted: no address is in it, and none that does not exist is told apart. */
export const throttles = pgTable('throttles', {
  key: text('key').primaryKey(),
  count: integer('count').notNull(),
  blockedUntil: integer('blocked_until').notNull(),
  /** then the row is forgotten */
  expiresAt: integer('expires_at').notNull(),
}, (table) => [
  index('throttles_expires_at').on(table.expiresAt),
]);
