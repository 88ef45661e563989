import { type Static, Type } from '@sinclair/typebox';

const flag = (fallback: boolean, description: string) =>
  Type.Boolean({ default: fallback, description });
const integer = (fallback: number, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description });
const text = (fallback: string, description: string) => Type.String({ default: fallback, description });
const choice = <const T extends string>(values: T[], fallback: NoInfer<T>, description: string) =>
  Type.Union(values.map((value) => Type.Literal(value)), { default: fallback, description });

/** Every variable that Keyturn reads, with its default; `.env.example` and the README's table are generated from it. */
export const EnvironmentSchema = Type.Object({
  NODE_ENV: choice(['development', 'production', 'test'], 'development', 'production always marks cookies Secure; test allows cheap password hashes; development, and nothing else, allows the sample passwords of the documents'),
  HOST: text('localhost', 'address to listen on; the container image sets 0.0.0.0'),
  PORT: integer(8000, 0, 65535, 'port to listen on; 0 takes a free one'),
  LOG_LEVEL: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'info', 'least severe log line to write; logs are JSON on standard output'),
  METRICS_PORT: integer(0, 0, 65535, 'port that serves metrics for Prometheus at /metrics, to whoever can reach it; 0 is off'),
  METRICS_HOST: text('localhost', 'address to serve metrics on'),
  DATA_DIR: text('./data', 'folder of the embedded database and of the generated keys'),
  DATABASE_URL: text('', 'sqlite:PATH, sqlite:///./app.db or postgres://user:password@host/database (with ?sslmode=verify-full&sslrootcert=PATH for TLS); empty means keyturn.db in DATA_DIR. May also be given as DATABASE_URL_FILE'),
  MIGRATION_DATABASE_URL: text('', 'the same database with a role that may change its tables: migrations use it at start, and the role in DATABASE_URL then needs to read and write rows only. Empty means DATABASE_URL. PostgreSQL only. May also be given as MIGRATION_DATABASE_URL_FILE'),
  DATABASE_POOL_SIZE: integer(10, 1, 1000, 'connections to PostgreSQL, at most'),
  DATABASE_TIMEOUT_MS: integer(900, 100, 60_000, 'how long PostgreSQL may take to give a connection, and then to answer a statement; past it the answer is 503'),
  PLAINTEXT_HOSTS: text('', 'comma-separated hosts of PostgreSQL and Redis that may be spoken to without TLS, because nobody else is on the network between; this machine needs no entry'),
  TLS_CA: text('', 'PEM file of the authorities that sign the certificates of Redis and of the mail server; empty means those that Node.js trusts, to which NODE_EXTRA_CA_CERTS adds. PostgreSQL has sslrootcert in DATABASE_URL'),
  SECRET_KEY: text('', 'at least 32 bytes, base of every secret; a comma-separated list rotates it: the first signs, the rest still verify. Empty means one made once and kept in DATA_DIR. May also be given as SECRET_KEY_FILE'),
  ALGORITHM: choice(['HS256', 'ES256', 'EdDSA', 'RS256'], 'HS256', 'signature algorithm of access tokens'),
  JWT_PRIVATE_KEY: text('', 'PEM private keys for ES256, EdDSA or RS256, one after another: the first signs, the rest still verify. Empty means one made once and kept in DATA_DIR. May also be given as JWT_PRIVATE_KEY_FILE'),
  JWT_ISSUER: text('keyturn', 'iss claim of access tokens'),
  JWT_AUDIENCE: text('keyturn', 'aud claim of access tokens'),
  ACCESS_TOKEN_EXPIRE_MINUTES: Type.Number({ default: 15, minimum: 0.05, maximum: 1440, description: 'life of an access token' }),
  REFRESH_TOKEN_EXPIRE_DAYS: Type.Number({ default: 7, exclusiveMinimum: 0, maximum: 365, description: 'a session ends when it was not refreshed for so long (idle time-out)' }),
  SESSION_EXPIRE_DAYS: Type.Number({ default: 30, exclusiveMinimum: 0, maximum: 400, description: 'a session ends so long after sign-in, however often it was refreshed (absolute time-out)' }),
  SESSIONS_PER_USER: integer(100, 1, 1000, 'sessions that one user may have; past it a sign-in ends the one that was used longest ago'),
  REFRESH_GRACE_SECONDS: Type.Number({ default: 30, minimum: 0, maximum: 3600, description: 'for so long a superseded refresh token is answered with the current one; 0 is the strict mode. Must be under half the life of an access token' }),
  REFRESH_TOKEN_IN_BODY: choice(['auto', 'never', 'always'], 'auto', 'whether the refresh token is also in the JSON answer; auto: only for requests that no browser sent'),
  COOKIE_SAMESITE: choice(['strict', 'lax', 'none'], 'strict', 'SameSite of the refresh cookie; none adds Partitioned, for single-page apps on another site'),
  COOKIE_SECURE: choice(['auto', 'always', 'never'], 'auto', 'Secure and the __Host- prefix of the refresh cookie; auto: in production, and on https. Production refuses never'),
  ALLOWED_ORIGINS: text('', 'comma-separated origins of browser apps that are not served from this origin, such as http://localhost:3000'),
  TRUST_PROXY: text('false', 'false, or the addresses or CIDR ranges of the reverse proxies whose X-Forwarded-* headers count'),
  ARGON2_MEMORY_KIB: integer(19456, 8, 4_194_304, 'memory of one argon2id hash'),
  ARGON2_TIME_COST: integer(2, 1, 100, 'passes of one argon2id hash'),
  ARGON2_PARALLELISM: integer(1, 1, 64, 'lanes of one argon2id hash'),
  PASSWORD_QUEUE_LIMIT: integer(100, 0, 100_000, 'password hashes that may wait for a core; past it the answer is 503'),
  PASSWORD_MIN_LENGTH: integer(8, 8, 256, 'fewest characters of a password; NIST SP 800-63B-4 asks for 15 where the password is the only factor'),
  PASSWORD_BLOCKED_WORDS: text('keyturn', 'comma-separated words of your service that are no password: its name, its host name'),
  PASSWORD_REQUIRE_LETTER_AND_DIGIT: flag(false, 'ask for a letter and a digit in passwords; NIST and OWASP ASVS advise against it'),
  HIBP: flag(false, 'ask Have I Been Pwned whether a new password was in a breach (k-anonymity: five hexadecimal digits of its SHA-1 are sent); when it does not answer, the password passes'),
  HIBP_URL: text('https://api.pwnedpasswords.com/range/', 'the range API to ask; a mirror of your own will do'),
  SMTP_URL: text('', 'smtp://user:password@host:587 (STARTTLS, required unless the host is local) or smtps://user:password@host:465. Empty: in development mails are printed to the console, in production there are none. May also be given as SMTP_URL_FILE'),
  MAIL_FROM: text('', 'sender of mails, such as Example <no-reply@example.com>'),
  MAIL_TEMPLATES: text('', 'folder of mail templates; one that is not in it is taken from src/mails'),
  APP_URL: text('', 'your app, which links in mails point to: APP_URL/reset-password#token=… and APP_URL/verify-email#token=…; empty means small pages of the server’s own'),
  PUBLIC_URL: text('', 'the address at which browsers reach this server, for links in mails where APP_URL is empty; empty means http://localhost and the port, outside production'),
  REQUIRE_EMAIL_VERIFICATION: flag(false, 'no sign-in before the address is verified; and registering answers the same for an address that is taken. An account that is not verified is deleted a week after its link has expired'),
  VERIFICATION_EXPIRE_HOURS: Type.Number({ default: 24, exclusiveMinimum: 0, maximum: 720, description: 'life of the link that verifies an address' }),
  RESET_TOKEN_EXPIRE_MINUTES: Type.Number({ default: 60, exclusiveMinimum: 0, maximum: 1440, description: 'life of the link that resets a password' }),
  RESET_TOKEN_IN_RESPONSE: flag(false, 'answer forgot-password with the token itself; for development, production refuses it'),
  LOGIN_ATTEMPTS_LIMIT: integer(40, 5, 49, 'wrong passwords in a row after which no more are tried for an identifier, from devices that have not signed in to it before; from the fifth on, the pauses between them double'),
  RATE_LIMIT_ENABLED: flag(true, 'rate limits and throttles; false exists for tests, production refuses it'),
  RATE_LIMIT_CREDENTIALS_PER_MINUTE: integer(20, 1, 1_000_000, 'requests a minute and address to each route that takes a password'),
  RATE_LIMIT_TOKENS_PER_MINUTE: integer(120, 1, 1_000_000, 'requests a minute and address to each other route under /auth: refresh, sign-out, the list of sessions'),
  RATE_LIMIT_PER_MINUTE: integer(600, 1, 1_000_000, 'requests a minute and address to all other routes together'),
  REDIS_URL: text('', 'redis://user:password@host:port/number, or rediss:// for TLS: copies of the server that share it count rate limits together; while it is away, and if empty, each counts for itself. Valkey will do. May also be given as REDIS_URL_FILE'),
  COMPAT_ROUTES: flag(true, 'answer at /register, /login, /api/login … too'),
  DOCS: flag(false, '/docs, /redoc and /openapi.json; on outside production unless set'),
  SECURITY_CONTACT: text('', 'comma-separated mailto: and https:// addresses to which vulnerabilities are reported; /.well-known/security.txt names them'),
  SHUTDOWN_DELAY_SECONDS: Type.Number({ default: 5, minimum: 0, maximum: 300, description: 'after SIGTERM the server serves for so long with a red /health/ready, so that load balancers notice, before it refuses connections; 0 outside production unless set' }),
});

export type Environment = Static<typeof EnvironmentSchema>;

/** A mistake in the configuration: names the variable and what is wrong with it, never its value. */
export class ConfigError extends Error {
  constructor(variable: string, problem: string) {
    super(`${variable}: ${problem}`);
    this.name = 'ConfigError';
  }
}
