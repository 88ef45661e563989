import { mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { unescape } from 'node:querystring';
import { TypeGuard } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { ConfigError, type Environment, EnvironmentSchema } from './environment.ts';
import { parseMail, parseUrl } from './mail-config.ts';
import { loadSecrets, type Secrets } from './secrets.ts';
import type { DatabaseOptions } from './store/db.ts';
import { parseHosts, readCertificates, requireDatabaseTls, requireTls } from './tls-config.ts';

/** Values that may come from a file named by `NAME_FILE`, as container secrets do (ASVS 13.3.1). */
const FROM_FILE = ['SECRET_KEY', 'JWT_PRIVATE_KEY', 'DATABASE_URL', 'MIGRATION_DATABASE_URL', 'REDIS_URL', 'SMTP_URL'] as const;

/** Defaults that differ from those of EnvironmentSchema, which are for production. */
const OUTSIDE_PRODUCTION = { DOCS: 'true', SHUTDOWN_DELAY_SECONDS: '0' };

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const OWASP_MEMORY_FLOOR_KIB = [Number.POSITIVE_INFINITY, 47_104, 19_456, 12_288, 9_216, 7_168];

export type Config = ReturnType<typeof loadConfig>;
export { ConfigError };
export type { Secrets };

/**
 * Reads and checks the whole configuration. Creates DATA_DIR, and in it the keys that were not given; without `makeKeys` neither.
 * @throws ConfigError with the variable's name, for the first value that will not do
 */
export function loadConfig(env: Record<string, string | undefined>, { makeKeys = true } = {}) {
  const values = parse(withFiles(env));
  const dataDir = resolve(values.DATA_DIR);
  const accessTokenMs = values.ACCESS_TOKEN_EXPIRE_MINUTES * MINUTE_MS;
  checkLifetimes(values);
  checkHashCost(values);
  checkCookie(values);
  checkProduction(values);
  checkMetricsPort(values);
  return {
    production: values.NODE_ENV === 'production',
    host: values.HOST,
    port: values.PORT,
    logLevel: values.LOG_LEVEL,
    dataDir,
    database: parseDatabase(values, dataDir),
    secrets: prepareSecrets(values, dataDir, makeKeys),
    jwt: { issuer: values.JWT_ISSUER, audience: values.JWT_AUDIENCE },
    accessTokenMs,
    idleMs: values.REFRESH_TOKEN_EXPIRE_DAYS * DAY_MS,
    absoluteMs: values.SESSION_EXPIRE_DAYS * DAY_MS,
    sessionsPerUser: values.SESSIONS_PER_USER,
    graceMs: values.REFRESH_GRACE_SECONDS * 1000,
    refreshTokenInBody: values.REFRESH_TOKEN_IN_BODY,
    cookie: { sameSite: values.COOKIE_SAMESITE, secure: values.COOKIE_SECURE },
    allowedOrigins: parseOrigins(values.ALLOWED_ORIGINS),
    trustProxy: parseTrustProxy(values.TRUST_PROXY),
    argon2: {
      memoryCost: values.ARGON2_MEMORY_KIB,
      timeCost: values.ARGON2_TIME_COST,
      parallelism: values.ARGON2_PARALLELISM,
    },
    passwords: {
      queueLimit: values.PASSWORD_QUEUE_LIMIT,
      minLength: values.PASSWORD_MIN_LENGTH,
      allowSamples: values.NODE_ENV === 'development',
      blockedWords: values.PASSWORD_BLOCKED_WORDS.split(',').map((word) => word.trim().toLowerCase()).filter(Boolean),
      requireLetterAndDigit: values.PASSWORD_REQUIRE_LETTER_AND_DIGIT,
      hibpUrl: values.HIBP ? parseUrl('HIBP_URL', values.HIBP_URL) : null,
    },
    mail: parseMail(values),
    throttle: values.RATE_LIMIT_ENABLED && { loginAttempts: values.LOGIN_ATTEMPTS_LIMIT },
    rateLimit: values.RATE_LIMIT_ENABLED && {
      credentialsPerMinute: values.RATE_LIMIT_CREDENTIALS_PER_MINUTE,
      tokensPerMinute: values.RATE_LIMIT_TOKENS_PER_MINUTE,
      perMinute: values.RATE_LIMIT_PER_MINUTE,
    },
    redis: parseRedis(values),
    plaintextHosts: parseHosts(values.PLAINTEXT_HOSTS),
    metricsPort: values.METRICS_PORT,
    metricsHost: values.METRICS_HOST,
    compatRoutes: values.COMPAT_ROUTES,
    docs: values.DOCS,
    securityContacts: parseContacts(values.SECURITY_CONTACT),
    shutdownDelayMs: values.SHUTDOWN_DELAY_SECONDS * 1000,
  };
}

function withFiles(env: Record<string, string | undefined>): Record<string, string | undefined> {
  const merged = { ...env };
  for (const name of FROM_FILE) {
    const path = env[`${name}_FILE`];
    if (!path) continue;
    if (env[name]) throw new ConfigError(name, `is set, and so is ${name}_FILE; set one of them`);
    try {
      merged[name] = readFileSync(path, 'utf8').trim();
    } catch (error) {
      throw new ConfigError(`${name}_FILE`, `cannot be read (${(error as NodeJS.ErrnoException).code})`);
    }
    if (!merged[name]) throw new ConfigError(`${name}_FILE`, 'is an empty file');
  }
  return merged;
}

function parse(env: Record<string, string | undefined>): Environment {
  const known = Object.entries(EnvironmentSchema.properties).flatMap(([name, schema]) => {
    const value = env[name]?.trim();
    if (value && TypeGuard.IsInteger(schema) && !/^-?\d+$/.test(value)) throw new ConfigError(name, 'expected integer');
    return value ? [[name, value] as const] : [];
  });
  const given = { ...(env.NODE_ENV?.trim() !== 'production' && OUTSIDE_PRODUCTION), ...Object.fromEntries<string>(known) };
  const values: unknown = Value.Default(EnvironmentSchema, Value.Convert(EnvironmentSchema, given));
  const error = Value.Errors(EnvironmentSchema, values).First();
  if (error) {
    const { anyOf } = error.schema as { anyOf?: { const: string }[] };
    throw new ConfigError(error.path.slice(1), anyOf ? `must be one of ${anyOf.map((each) => each.const).join(', ')}` : error.message.toLowerCase());
  }
  return values as Environment;
}

function checkLifetimes(values: Environment) {
  const accessSeconds = values.ACCESS_TOKEN_EXPIRE_MINUTES * 60;
  if (values.REFRESH_GRACE_SECONDS >= accessSeconds / 2) {
    throw new ConfigError('REFRESH_GRACE_SECONDS', `must be under half of ACCESS_TOKEN_EXPIRE_MINUTES, that is under ${accessSeconds / 2}`);
  }
  if (values.SESSION_EXPIRE_DAYS < values.REFRESH_TOKEN_EXPIRE_DAYS) {
    throw new ConfigError('SESSION_EXPIRE_DAYS', 'must not be less than REFRESH_TOKEN_EXPIRE_DAYS');
  }
}

/** The floor is OWASP's list of equal argon2id settings: 46 MiB at one pass, 19 at 2, 12 at 3, 9 at 4, 7 at 5 (ASVS 11.4.2). */
function checkHashCost(values: Environment) {
  if (values.NODE_ENV === 'test') return;
  const floor = OWASP_MEMORY_FLOOR_KIB[Math.min(values.ARGON2_TIME_COST, 5)] ?? Number.POSITIVE_INFINITY;
  if (values.ARGON2_MEMORY_KIB < floor) {
    throw new ConfigError('ARGON2_MEMORY_KIB', `must be at least ${floor} with ARGON2_TIME_COST=${values.ARGON2_TIME_COST} (OWASP)`);
  }
}

function checkCookie(values: Environment) {
  if (values.COOKIE_SAMESITE === 'none' && values.COOKIE_SECURE === 'never') {
    throw new ConfigError('COOKIE_SECURE', 'must not be never with COOKIE_SAMESITE=none, for browsers drop such a cookie');
  }
}

/** What is for development and tests alone. */
function checkProduction(values: Environment) {
  if (values.NODE_ENV !== 'production') return;
  if (!values.RATE_LIMIT_ENABLED) throw new ConfigError('RATE_LIMIT_ENABLED', 'must not be false in production');
  if (values.COOKIE_SECURE === 'never') throw new ConfigError('COOKIE_SECURE', 'must not be never in production');
}

/** Contacts of RFC 9116 §2.5.3. */
function parseContacts(list: string): string[] {
  return list.split(',').map((entry) => entry.trim()).filter(Boolean).map((contact) => {
    const mail = /^mailto:[^\s@<>]+@[^\s@<>]+$/.test(contact);
    if (!mail && (!/^https:\/\/[^\s<>]+$/.test(contact) || !URL.canParse(contact))) {
      throw new ConfigError('SECURITY_CONTACT', 'must be a list of addresses such as mailto:security@example.com or https://example.com/security');
    }
    return contact;
  });
}

function checkMetricsPort(values: Environment) {
  if (values.METRICS_PORT !== 0 && values.METRICS_PORT === values.PORT) throw new ConfigError('METRICS_PORT', 'must not be PORT, for metrics are not for everyone');
}

/** Options of the library are not read from the URL: a query is refused. */
function parseRedis({ REDIS_URL: text, PLAINTEXT_HOSTS, TLS_CA }: Environment) {
  if (text === '') return null;
  const url = URL.parse(text);
  const [, db] = /^\/?(\d{0,4})$/.exec(url?.pathname ?? '') ?? [];
  if (!url?.hostname || !/^rediss?:$/.test(url.protocol) || db === undefined || /[?#]/.test(text)) {
    throw new ConfigError('REDIS_URL', 'must look like redis://user:password@host:6379/0, or begin with rediss:// for TLS');
  }
  requireTls('REDIS_URL', [url.hostname], url.protocol === 'rediss:', parseHosts(PLAINTEXT_HOSTS), 'begin it with rediss://');
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    ca: readCertificates(TLS_CA),
    port: Number(url.port || 6379),
    db: Number(db),
    tls: url.protocol === 'rediss:',
    username: unescape(url.username),
    password: unescape(url.password),
  };
}

function parseDatabase(values: Environment, dataDir: string): DatabaseOptions {
  const url = values.DATABASE_URL || `sqlite:${resolve(dataDir, 'keyturn.db')}`;
  const pool = { poolSize: values.DATABASE_POOL_SIZE, timeoutMs: values.DATABASE_TIMEOUT_MS };
  const database = parseDatabaseUrl('DATABASE_URL', url, pool);
  const migration = values.MIGRATION_DATABASE_URL && parseDatabaseUrl('MIGRATION_DATABASE_URL', values.MIGRATION_DATABASE_URL, pool);
  if (database.dialect === 'postgres' && !values.SECRET_KEY) {
    throw new ConfigError('SECRET_KEY', 'must be set with PostgreSQL, for every copy of the server needs the same');
  }
  const trusted = parseHosts(values.PLAINTEXT_HOSTS);
  if (database.dialect === 'postgres') requireDatabaseTls('DATABASE_URL', database.url, trusted);
  if (!migration) return database;
  if (database.dialect !== 'postgres' || migration.dialect !== 'postgres') {
    throw new ConfigError('MIGRATION_DATABASE_URL', 'and DATABASE_URL must both begin with postgres://');
  }
  requireDatabaseTls('MIGRATION_DATABASE_URL', migration.url, trusted);
  return { ...database, migrationUrl: migration.url };
}

/** @throws ConfigError with the name under which the address was given */
export function parseDatabaseUrl(name: string, url: string, pool: { poolSize: number; timeoutMs: number }): DatabaseOptions {
  if (/^postgres(ql)?:\/\//.test(url) && URL.parse(url)?.hostname) return { dialect: 'postgres', url, ...pool };
  const [, path] = /^sqlite:(?:\/\/\/)?(.+)$/.exec(url) ?? [];
  if (!path || path.startsWith('//') || path === ':memory:') {
    throw new ConfigError(name, 'must look like sqlite:PATH, sqlite:///./app.db or postgres://user:password@host/database');
  }
  return { dialect: 'sqlite', path: resolve(path) };
}

/** Where the data is, in words that hold no password. */
export function describeDatabase(database: DatabaseOptions): string {
  if (database.dialect === 'sqlite') return database.path;
  const { host, pathname } = new URL(database.url);
  return `postgres://${host}${pathname}`;
}

function prepareSecrets(values: Environment, dataDir: string, makeKeys: boolean): Secrets {
  let result: ReturnType<typeof loadSecrets>;
  try {
    if (makeKeys) mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    result = loadSecrets(values, dataDir, { keep: makeKeys });
  } catch (error) {
    throw new ConfigError('DATA_DIR', `${dataDir} cannot be used by user ${process.getuid?.() ?? ''} (${(error as NodeJS.ErrnoException).code})`);
  }
  if ('problem' in result) throw new ConfigError(result.variable, result.problem);
  return result;
}

function parseOrigins(list: string): string[] {
  return list.split(',').map((entry) => entry.trim()).filter(Boolean).map((entry) => {
    const origin = URL.parse(entry)?.origin;
    if (origin !== entry || !/^https?:[^*]+$/.test(entry)) {
      throw new ConfigError('ALLOWED_ORIGINS', 'must be a list of origins such as https://app.example.com, without path, and without *');
    }
    return origin;
  });
}

function parseTrustProxy(value: string): false | string[] {
  if (value === 'false') return false;
  const addresses = value.split(',').map((entry) => entry.trim());
  if (!addresses.every(isProxyRange)) {
    throw new ConfigError('TRUST_PROXY', 'must be false, or a list of addresses or CIDR ranges of proxies, none wider than /8');
  }
  return addresses;
}

/** An address, or a range that cannot hold strangers: at least /8, and as IPv6 without room for the mapped IPv4 addresses. */
function isProxyRange(entry: string): boolean {
  const [address = '', bits, ...rest] = entry.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  if (bits === undefined) return true;
  const size = /^[1-9]\d{0,2}$/.test(bits) ? Number(bits) : 0;
  if (family === 4) return size >= 8 && size <= 32;
  const beginsWithZeros = /^\[[\da-f]{0,2}:/.test(URL.parse(`http://[${address}]`)?.hostname ?? '[:');
  return size === 128 || (size >= 8 && size < 128 && !beginsWithZeros);
}
