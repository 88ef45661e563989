import { bigint, index, pgTable, text } from 'drizzle-orm/pg-core';

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
});

/** One row per sign-in, for its whole life; refreshing updates it. */
export const sessions = pgTable('sessions', {
  id: text('id').primaryKey(),
  userId: text('user_id').notNull().references(() => users.id, { onDelete: 'cascade' }),
  /** SHA-256 of the current token of the chain; the token itself is nowhere in the store */
  tokenHash: text('token_hash').notNull(),
  generation: integer('generation').notNull(),
  /** the generation at which the current burst of rotations began */
  burstGeneration: integer('burst_generation').notNull(),
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
  index('sessions_user_id').on(table.userId),
  index('sessions_expires_at').on(table.expiresAt),
]);
