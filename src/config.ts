import { mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { unescape } from 'node:querystring';
import { type Static, Type, TypeGuard } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { loadSecrets, type Secrets } from './secrets.ts';
import type { DatabaseOptions } from './store/db.ts';

const flag = (fallback: boolean, description: string) =>
  Type.Boolean({ default: fallback, description });
const integer = (fallback: number, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description });
const text = (fallback: string, description: string) => Type.String({ default: fallback, description });
const choice = <const T extends string>(values: T[], fallback: NoInfer<T>, description: string) =>
  Type.Union(values.map((value) => Type.Literal(value)), { default: fallback, description });

/** Every variable that Keyturn reads, with its default; `.env.example` and the README's table are generated from it. */
export const EnvironmentSchema = Type.Object({
  NODE_ENV: choice(['development', 'production', 'test'], 'development', 'production always marks cookies Secure; test allows cheap password hashes'),
  HOST: text('localhost', 'address to listen on; the container image sets 0.0.0.0'),
  PORT: integer(8000, 0, 65535, 'port to listen on; 0 takes a free one'),
  LOG_LEVEL: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'info', 'least severe log line to write; logs are JSON on standard output'),
  METRICS_PORT: integer(0, 0, 65535, 'port that serves metrics for Prometheus at /metrics, to whoever can reach it; 0 is off'),
  METRICS_HOST: text('localhost', 'address to serve metrics on'),
  DATA_DIR: text('./data', 'folder of the embedded database and of the generated keys'),
  DATABASE_URL: text('', 'sqlite:PATH, sqlite:///./app.db or postgres://user:password@host/database (with ?sslmode=verify-full&sslrootcert=PATH for TLS); empty means keyturn.db in DATA_DIR. May also be given as DATABASE_URL_FILE'),
  DATABASE_POOL_SIZE: integer(10, 1, 1000, 'connections to PostgreSQL, at most'),
  DATABASE_TIMEOUT_MS: integer(1500, 100, 60_000, 'how long PostgreSQL may take to give a connection, and to answer a statement; past it the answer is 503'),
  SECRET_KEY: text('', 'at least 32 bytes, base of every secret; a comma-separated list rotates it: the first signs, the rest still verify. Empty means one made once and kept in DATA_DIR. May also be given as SECRET_KEY_FILE'),
  ALGORITHM: choice(['HS256', 'ES256', 'EdDSA', 'RS256'], 'HS256', 'signature algorithm of access tokens'),
  JWT_PRIVATE_KEY: text('', 'PEM private keys for ES256, EdDSA or RS256, one after another: the first signs, the rest still verify. Empty means one made once and kept in DATA_DIR. May also be given as JWT_PRIVATE_KEY_FILE'),
  JWT_ISSUER: text('keyturn', 'iss claim of access tokens'),
  JWT_AUDIENCE: text('keyturn', 'aud claim of access tokens'),
  ACCESS_TOKEN_EXPIRE_MINUTES: Type.Number({ default: 15, minimum: 0.05, maximum: 1440, description: 'life of an access token' }),
  REFRESH_TOKEN_EXPIRE_DAYS: Type.Number({ default: 7, exclusiveMinimum: 0, maximum: 365, description: 'a session ends when it was not refreshed for so long (idle time-out)' }),
  SESSION_EXPIRE_DAYS: Type.Number({ default: 30, exclusiveMinimum: 0, maximum: 400, description: 'a session ends so long after sign-in, however often it was refreshed (absolute time-out)' }),
  REFRESH_GRACE_SECONDS: Type.Number({ default: 30, minimum: 0, maximum: 3600, description: 'for so long a superseded refresh token is answered with the current one; 0 is the strict mode. Must be under half the life of an access token' }),
  REFRESH_TOKEN_IN_BODY: choice(['auto', 'never', 'always'], 'auto', 'whether the refresh token is also in the JSON answer; auto: only for requests that no browser sent'),
  COOKIE_SAMESITE: choice(['strict', 'lax', 'none'], 'strict', 'SameSite of the refresh cookie; none adds Partitioned, for single-page apps on another site'),
  COOKIE_SECURE: choice(['auto', 'always', 'never'], 'auto', 'Secure and the __Host- prefix of the refresh cookie; auto: in production, and on https'),
  ALLOWED_ORIGINS: text('', 'comma-separated origins of browser apps that are not served from this origin, such as http://localhost:3000'),
  TRUST_PROXY: text('false', 'false, or the addresses or CIDR ranges of the reverse proxies whose X-Forwarded-* headers count'),
  ARGON2_MEMORY_KIB: integer(19456, 8, 4_194_304, 'memory of one argon2id hash'),
  ARGON2_TIME_COST: integer(2, 1, 100, 'passes of one argon2id hash'),
  ARGON2_PARALLELISM: integer(1, 1, 64, 'lanes of one argon2id hash'),
  PASSWORD_QUEUE_LIMIT: integer(100, 0, 100_000, 'password hashes that may wait for a core; past it the answer is 503'),
  PASSWORD_MIN_LENGTH: integer(8, 8, 256, 'fewest characters of a password; NIST SP 800-63B-4 asks for 15 where the password is the only factor'),
  PASSWORD_REQUIRE_LETTER_AND_DIGIT: flag(false, 'ask for a letter and a digit in passwords; NIST and OWASP ASVS advise against it'),
  RATE_LIMIT_ENABLED: flag(true, 'rate limits; false exists for tests'),
  RATE_LIMIT_CREDENTIALS_PER_MINUTE: integer(20, 1, 1_000_000, 'requests a minute and address to each route that takes a password'),
  RATE_LIMIT_TOKENS_PER_MINUTE: integer(120, 1, 1_000_000, 'requests a minute and address to each other route under /auth: refresh, sign-out, the list of sessions'),
  RATE_LIMIT_PER_MINUTE: integer(600, 1, 1_000_000, 'requests a minute and address to all other routes together'),
  REDIS_URL: text('', 'redis://user:password@host:port/number, or rediss:// for TLS: copies of the server that share it count rate limits together; while it is away, and if empty, each counts for itself. Valkey will do. May also be given as REDIS_URL_FILE'),
  COMPAT_ROUTES: flag(true, 'answer at /register, /login, /api/login … too'),
  DOCS: flag(true, '/docs, /redoc and /openapi.json'),
});

export type Environment = Static<typeof EnvironmentSchema>;

/** Values that may come from a file named by `NAME_FILE`, as container secrets do (ASVS 13.3.1). */
const FROM_FILE = ['SECRET_KEY', 'JWT_PRIVATE_KEY', 'DATABASE_URL', 'REDIS_URL'] as const;

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const OWASP_MEMORY_FLOOR_KIB = [Number.POSITIVE_INFINITY, 47_104, 19_456, 12_288, 9_216, 7_168];

/** A mistake in the configuration: names the variable and what is wrong with it, never its value. */
export class ConfigError extends Error {
  constructor(variable: string, problem: string) {
    super(`${variable}: ${problem}`);
    this.name = 'ConfigError';
  }
}

export type Config = ReturnType<typeof loadConfig>;
export type { Secrets };

/**
 * Reads and checks the whole configuration. Creates DATA_DIR, and in it the keys that were not given.
 * @throws ConfigError with the variable's name, for the first value that will not do
 */
export function loadConfig(env: Record<string, string | undefined>) {
  const values = parse(withFiles(env));
  const dataDir = resolve(values.DATA_DIR);
  const accessTokenMs = values.ACCESS_TOKEN_EXPIRE_MINUTES * MINUTE_MS;
  checkLifetimes(values);
  checkHashCost(values);
  checkCookie(values);
  checkMetricsPort(values);
  return {
    production: values.NODE_ENV === 'production',
    host: values.HOST,
    port: values.PORT,
    logLevel: values.LOG_LEVEL,
    dataDir,
    database: parseDatabase(values, dataDir),
    secrets: prepareSecrets(values, dataDir),
    jwt: { issuer: values.JWT_ISSUER, audience: values.JWT_AUDIENCE },
    accessTokenMs,
    idleMs: values.REFRESH_TOKEN_EXPIRE_DAYS * DAY_MS,
    absoluteMs: values.SESSION_EXPIRE_DAYS * DAY_MS,
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
      requireLetterAndDigit: values.PASSWORD_REQUIRE_LETTER_AND_DIGIT,
    },
    rateLimit: values.RATE_LIMIT_ENABLED && {
      credentialsPerMinute: values.RATE_LIMIT_CREDENTIALS_PER_MINUTE,
      tokensPerMinute: values.RATE_LIMIT_TOKENS_PER_MINUTE,
      perMinute: values.RATE_LIMIT_PER_MINUTE,
    },
    redis: parseRedis(values.REDIS_URL),
    metricsPort: values.METRICS_PORT,
    metricsHost: values.METRICS_HOST,
    compatRoutes: values.COMPAT_ROUTES,
    docs: values.DOCS,
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
    return value ? [[name, value]] : [];
  });
  const values: unknown = Value.Default(EnvironmentSchema, Value.Convert(EnvironmentSchema, Object.fromEntries(known)));
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

function checkMetricsPort(values: Environment) {
  if (values.METRICS_PORT !== 0 && values.METRICS_PORT === values.PORT) throw new ConfigError('METRICS_PORT', 'must not be PORT, for metrics are not for everyone');
}

/** Options of the library are not read from the URL: a query is refused. */
function parseRedis(text: string) {
  if (text === '') return null;
  const url = URL.parse(text);
  const [, db] = /^\/?(\d{0,4})$/.exec(url?.pathname ?? '') ?? [];
  if (!url?.hostname || !/^rediss?:$/.test(url.protocol) || db === undefined || /[?#]/.test(text)) {
    throw new ConfigError('REDIS_URL', 'must look like redis://user:password@host:6379/0, or begin with rediss:// for TLS');
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 6379),
    db: Number(db),
    tls: url.protocol === 'rediss:',
    username: unescape(url.username),
    password: unescape(url.password),
  };
}

function parseDatabase(values: Environment, dataDir: string): DatabaseOptions {
  const url = values.DATABASE_URL || `sqlite:${resolve(dataDir, 'keyturn.db')}`;
  if (/^postgres(ql)?:\/\//.test(url)) {
    if (URL.parse(url)?.hostname === '') throw new ConfigError('DATABASE_URL', 'must look like postgres://user:password@host/database');
    if (!values.SECRET_KEY) throw new ConfigError('SECRET_KEY', 'must be set with PostgreSQL, for every copy of the server needs the same');
    return { dialect: 'postgres', url, poolSize: values.DATABASE_POOL_SIZE, timeoutMs: values.DATABASE_TIMEOUT_MS };
  }
  const [, path] = /^sqlite:(?:\/\/\/)?(.+)$/.exec(url) ?? [];
  if (!path || path.startsWith('//') || path === ':memory:') {
    throw new ConfigError('DATABASE_URL', 'must look like sqlite:PATH, sqlite:///./app.db or postgres://user:password@host/database');
  }
  return { dialect: 'sqlite', path: resolve(path) };
}

/** Where the data is, in words that hold no password. */
export function describeDatabase(database: DatabaseOptions): string {
  if (database.dialect === 'sqlite') return database.path;
  const { host, pathname } = new URL(database.url);
  return `postgres://${host}${pathname}`;
}

function prepareSecrets(values: Environment, dataDir: string): Secrets {
  let result: ReturnType<typeof loadSecrets>;
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    result = loadSecrets(values, dataDir);
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
