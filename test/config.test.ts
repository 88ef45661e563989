import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError, loadConfig } from '../src/config.ts';
import { EnvironmentSchema } from '../src/environment.ts';
import { temporaryFolder } from './support/app.ts';
import { cliHere } from './support/cli.ts';

const SECRET = 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA';
type Env = Record<string, string>;
const PRODUCTION = { NODE_ENV: 'production' };
const MAIL = { SMTP_URL: 'smtp://mail.example.com', MAIL_FROM: 'no-reply@example.com', APP_URL: 'https://app.example.com' };

const load = (env: Env) => loadConfig({ DATA_DIR: temporaryFolder(), SECRET_KEY: SECRET, ...env });

/** The refusal, after a check that it names its variable first and shows no value of the environment. */
function refusalOf(env: Env): string {
  try {
    load(env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as ConfigError;
    for (const [name, value] of Object.entries(env)) if (name !== 'NODE_ENV' && value.length > 6 && !value.startsWith('sqlite:')) expect(message).not.toContain(value);
    return message;
  }
  throw new Error(`was not refused: ${Object.keys(env).join(', ')}`);
}

describe('a bad value is refused at start, by the name of its variable, and never shown:', () => {
  test.each<[string, Env, RegExp]>([
    ['unknown NODE_ENV', { NODE_ENV: 'prod' }, /^NODE_ENV: must be one of development, production, test$/],
    ['NODE_ENV in another case', { NODE_ENV: 'Production' }, /^NODE_ENV: must be one of/],
    ['ALGORITHM none', { ALGORITHM: 'none' }, /^ALGORITHM: must be one of HS256, ES256, EdDSA, RS256$/],
    ['ALGORITHM HS512', { ALGORITHM: 'HS512' }, /^ALGORITHM: must be one of/],
    ['unknown LOG_LEVEL', { LOG_LEVEL: 'verbose' }, /^LOG_LEVEL: must be one of/],
    ['unknown COOKIE_SAMESITE', { COOKIE_SAMESITE: 'loose-one' }, /^COOKIE_SAMESITE: must be one of strict, lax, none$/],
    ['unknown REFRESH_TOKEN_IN_BODY', { REFRESH_TOKEN_IN_BODY: 'sometimes' }, /^REFRESH_TOKEN_IN_BODY: must be one of auto, never, always$/],
    ['a cookie that browsers would drop', { COOKIE_SAMESITE: 'none', COOKIE_SECURE: 'never' }, /^COOKIE_SECURE: must not be never with COOKIE_SAMESITE=none/],
    ['PORT in words', { PORT: 'eighty-eighty' }, /^PORT: expected integer$/],
    ['PORT in hexadecimal', { PORT: '0x1F90' }, /^PORT: expected integer$/],
    ['PORT with a fraction', { PORT: '80.5' }, /^PORT: expected integer$/],
    ['PORT too high', { PORT: '65536' }, /^PORT: expected integer to be less or equal to 65535$/],
    ['a limit that would be read as 1', { RATE_LIMIT_PER_MINUTE: '1e3' }, /^RATE_LIMIT_PER_MINUTE: expected integer$/],
    ['no limit', { RATE_LIMIT_PER_MINUTE: '0' }, /^RATE_LIMIT_PER_MINUTE: expected integer to be greater/],
    ['a switch in words', { RATE_LIMIT_ENABLED: 'nope, please' }, /^RATE_LIMIT_ENABLED: expected boolean$/],
    ['a life with a unit', { ACCESS_TOKEN_EXPIRE_MINUTES: '15m' }, /^ACCESS_TOKEN_EXPIRE_MINUTES: expected number$/],
    ['an endless life', { ACCESS_TOKEN_EXPIRE_MINUTES: 'Infinity' }, /^ACCESS_TOKEN_EXPIRE_MINUTES: expected number$/],
    ['no life', { ACCESS_TOKEN_EXPIRE_MINUTES: '0' }, /^ACCESS_TOKEN_EXPIRE_MINUTES: expected number to be greater/],
    ['a negative life', { REFRESH_TOKEN_EXPIRE_DAYS: '-7' }, /^REFRESH_TOKEN_EXPIRE_DAYS: expected number to be greater/],
    ['a session longer than browsers keep its cookie', { SESSION_EXPIRE_DAYS: '401' }, /^SESSION_EXPIRE_DAYS: expected number to be less or equal to 400$/],
    ['a session shorter than its idle time', { SESSION_EXPIRE_DAYS: '6' }, /^SESSION_EXPIRE_DAYS: must not be less than REFRESH_TOKEN_EXPIRE_DAYS$/],
    ['a grace of half an access token’s life', { REFRESH_GRACE_SECONDS: '450' }, /^REFRESH_GRACE_SECONDS: must be under half of ACCESS_TOKEN_EXPIRE_MINUTES, that is under 450$/],
    ['a grace too long for a short life', { ACCESS_TOKEN_EXPIRE_MINUTES: '1' }, /^REFRESH_GRACE_SECONDS: must be under half/],
    ['a password length under the floor', { PASSWORD_MIN_LENGTH: '7' }, /^PASSWORD_MIN_LENGTH: expected integer to be greater or equal to 8$/],
    ['a hash below OWASP’s floor', { ARGON2_MEMORY_KIB: '19455' }, /^ARGON2_MEMORY_KIB: must be at least 19456 with ARGON2_TIME_COST=2 \(OWASP\)$/],
    ['a hash of one pass with too little memory', { ARGON2_TIME_COST: '1' }, /^ARGON2_MEMORY_KIB: must be at least 47104/],
    ['a hash of many passes with too little memory', { ARGON2_TIME_COST: '50', ARGON2_MEMORY_KIB: '7167' }, /^ARGON2_MEMORY_KIB: must be at least 7168/],
    ['a hash below the floor in production', { NODE_ENV: 'production', ARGON2_MEMORY_KIB: '8' }, /^ARGON2_MEMORY_KIB: must be at least 19456/],
    ['another database', { DATABASE_URL: 'mysql://user:hunter2@host/name' }, /^DATABASE_URL: must look like sqlite:PATH/],
    ['PostgreSQL without a key that all copies share', { SECRET_KEY: '', DATABASE_URL: 'postgres://user:hunter2@host/name' }, /^SECRET_KEY: must be set with PostgreSQL/],
    ['a role for migrations on SQLite', { MIGRATION_DATABASE_URL: 'postgres://owner:hunter2@host/name' }, /^MIGRATION_DATABASE_URL: and DATABASE_URL must both begin with postgres:/],
    ['a role for migrations without a host', { SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA', DATABASE_URL: 'postgres://user:hunter2@host/name', MIGRATION_DATABASE_URL: 'postgres:///name' }, /^MIGRATION_DATABASE_URL: must look like/],
    ['PostgreSQL without a host', { DATABASE_URL: 'postgres:///name' }, /^DATABASE_URL: must look like/],
    ['a database without a path', { DATABASE_URL: 'sqlite:' }, /^DATABASE_URL: must look like/],
    ['a database with a host', { DATABASE_URL: 'sqlite://app.db' }, /^DATABASE_URL: must look like/],
    ['a database that is gone with the process', { DATABASE_URL: 'sqlite::memory:' }, /^DATABASE_URL: must look like/],
    ...['*', 'null', 'https://*.example.com', 'https://app.example.com/', 'https://app.example.com/path', 'https://app.example.com?x', 'app.example.org', 'ftp://app.example.com', 'file:///tmp/x',
      'https://user:hunter2@example.com', 'https://APP.example.com', 'https://app.example.com:443', 'https://app.example.com, *', 'javascript:alert(1)',
    ].map((value): [string, Env, RegExp] => [`origin ${value}`, { ALLOWED_ORIGINS: value }, /^ALLOWED_ORIGINS: must be a list of origins/]),
    ...['true', '1', '*', 'loopback', '0/0', '0.0.0.0/0', '::/0', '0.0.0.0/1', '10.0.0.0/7', '::/1', '::/80', '::ffff:0:0/96', '0:0:0:0:0:ffff:0:0/96', '::ffff:10.0.0.0/8', '1::/7', 'ff::/8', 'fc00::/7', '8000::/1', '10.0.0.0/33', 'fd00::/129', '10.0.0.0/08', '10.0.0.0/8/8', '10.0.0.0/255.0.0.0',
      '999.1.1.1', '1.2.3', ':::', 'fe80::1%eth0/64', '10.0.0.1,', '10.0.0.1, ::/0', 'proxy.example.com',
    ].map((value): [string, Env, RegExp] => [`proxy ${value}`, { TRUST_PROXY: value }, /^TRUST_PROXY: must be false, or a list of addresses/]),
    ...['mail.example.com', 'mail.example.com:587', 'http://mail.example.com', 'smtp:///', 'smtp:mail.example.com', 'smtp:///mail.example.com', 'smtp://mail.example.com/path', 'smtp://mail.example.com?secure=false', 'smtp://mail.example.com#x',
      'smtp://mail.example.com:0', 'smtp://mail.example.com:65536', 'smtp://mail example.com', 'smtp://user:pass word@mail.example.com', 'smtp://user:hunter2hunter2#@mail.example.com',
    ].map((value): [string, Env, RegExp] => [`mail server ${value}`, { SMTP_URL: value }, /^SMTP_URL: must look like smtp:\/\/user:password@host:587 or smtps/]),
    ...['smtp://hunter2hunter2@mail.example.com', 'smtp://:hunter2hunter2@mail.example.com', 'smtp://hunter2hunter2:@mail.example.com'].map((value): [string, Env, RegExp] => [`mail server ${value}`, { SMTP_URL: value }, /^SMTP_URL: must have a user and a password, or neither$/]),
    ...['Acme Corp', 'sender@', '@acme.example', 'Acme no-reply@acme.example', 'Acme <no-reply@acme.example', 'Acme <>', 'a@example.com, b@example.com', 'A <a@example.com>, B <b@example.com>', 'Example <a@example.com,b@example.com>', 'Example <a@b@example.com>',
      'Example\r\nBcc: eve@example.com <no-reply@example.com>', 'Example <no-reply@example.com>\nBcc: eve@example.com', '"Example <no-reply@example.com>', 'Ex"am"ple <no-reply@example.com>', '<a@example.com> <b@example.com>', 'no reply@example.com',
    ].map((value): [string, Env, RegExp] => [`sender ${JSON.stringify(value)}`, { MAIL_FROM: value }, /^MAIL_FROM: must look like Example <no-reply@example\.com>$/]),
    ...['APP_URL', 'PUBLIC_URL'].flatMap((name) => ['app.example.com', 'http://app.example.com', 'http://localhost.example.com', 'http://127.0.0.1.example.com', 'ftp://app.example.com', 'javascript:alert(1)', 'https:///', 'https://user:hunter2@app.example.com',
      'https://app.example.com/?next=1', 'https://app.example.com/#/login', 'https://app.example.com/ path', '//app.example.com', 'https://app.example.com\\@evil.example/?x',
    ].map((value): [string, Env, RegExp] => [`${name} ${value}`, { [name]: value }, /^(APP|PUBLIC)_URL: must be an https:\/\/ address/])),
    ['a verification link without a life', { VERIFICATION_EXPIRE_HOURS: '0' }, /^VERIFICATION_EXPIRE_HOURS: expected number to be greater/],
    ['a reset link that is good for days', { RESET_TOKEN_EXPIRE_MINUTES: '1441' }, /^RESET_TOKEN_EXPIRE_MINUTES: expected number to be less/],
    ['verified addresses in production without mail', { ...PRODUCTION, REQUIRE_EMAIL_VERIFICATION: 'true' }, /^SMTP_URL: must be set in production, because REQUIRE_EMAIL_VERIFICATION is$/],
    ['APP_URL in production without mail', { ...PRODUCTION, APP_URL: 'https://app.example.com' }, /^SMTP_URL: must be set in production, because APP_URL is$/],
    ['a sender in production without mail', { ...PRODUCTION, MAIL_FROM: 'no-reply@example.com' }, /^SMTP_URL: must be set in production, because MAIL_FROM is$/],
    ['mail in production without a sender', { ...PRODUCTION, ...MAIL, MAIL_FROM: '' }, /^MAIL_FROM: must be set in production, because SMTP_URL is$/],
    ['mail in production without an address for links', { ...PRODUCTION, ...MAIL, APP_URL: '' }, /^APP_URL: or PUBLIC_URL must be set in production/],
    ['no rate limits in production', { ...PRODUCTION, RATE_LIMIT_ENABLED: 'false' }, /^RATE_LIMIT_ENABLED: must not be false in production$/],
    ['cookies without Secure in production', { ...PRODUCTION, COOKIE_SECURE: 'never' }, /^COOKIE_SECURE: must not be never in production$/],
    ...['someone@example.com', 'http://example.com/security', 'mailto:@', 'mailto:someone', 'javascript:alert(1)', 'https:///', 'https://exa mple.com', 'tel:+1-201-555-0123', 'mailto:a@example.com\nExpires: never',
    ].map((value): [string, Env, RegExp] => [`contact ${JSON.stringify(value)}`, { SECURITY_CONTACT: value }, /^SECURITY_CONTACT: must be a list of addresses such as mailto:/]),
    ['a reset token in the answer, in production', { ...PRODUCTION, ...MAIL, RESET_TOKEN_IN_RESPONSE: 'true' }, /^RESET_TOKEN_IN_RESPONSE: must not be true in production$/],
  ])('%s', (_name, env, message) => {
    expect(refusalOf(env)).toMatch(message);
  });
});

describe('values that may come from files', () => {
  const file = (content: string) => {
    const path = join(temporaryFolder(), 'value');
    writeFileSync(path, content);
    return path;
  };

  test('are read from NAME_FILE, without the line end that editors add', () => {
    expect(loadConfig({ DATA_DIR: temporaryFolder(), SECRET_KEY_FILE: file(`${SECRET}\n`) }).secrets).toEqual(load({}).secrets);
    expect(load({ DATABASE_URL_FILE: file('sqlite:/tmp/other.db\n') }).database).toEqual({ dialect: 'sqlite', path: '/tmp/other.db' });
  });

  test('are refused when both forms are given, when the file cannot be read, and when it is empty: no key is made up instead', () => {
    expect(refusalOf({ SECRET_KEY_FILE: file(SECRET) })).toBe('SECRET_KEY: is set, and so is SECRET_KEY_FILE; set one of them');
    for (const [content, reason] of [['', 'is an empty file'], [' \n', 'is an empty file'], [null, 'cannot be read (ENOENT)']] as const) {
      const folder = temporaryFolder();
      expect(() => loadConfig({ DATA_DIR: folder, SECRET_KEY_FILE: content === null ? join(folder, 'missing') : file(content) })).toThrow(new ConfigError('SECRET_KEY_FILE', reason));
      expect(readdirSync(folder)).toEqual([]);
    }
    expect(refusalOf({ JWT_PRIVATE_KEY_FILE: temporaryFolder(), ALGORITHM: 'ES256' })).toBe('JWT_PRIVATE_KEY_FILE: cannot be read (EISDIR)');
  });
});

describe('what is accepted', () => {
  test('with nothing set: limits on, strict cookies, no proxy, no foreign origin, OWASP’s hash, the data folder for its owner only', () => {
    const folder = join(temporaryFolder(), 'data');
    const config = loadConfig({ DATA_DIR: folder });
    expect(config).toMatchObject({
      production: false, host: 'localhost', port: 8000, logLevel: 'info', accessTokenMs: 900_000, idleMs: 7 * 86_400_000, absoluteMs: 30 * 86_400_000, graceMs: 30_000,
      refreshTokenInBody: 'auto', cookie: { sameSite: 'strict', secure: 'auto' }, allowedOrigins: [], trustProxy: false, argon2: { memoryCost: 19_456, timeCost: 2, parallelism: 1 },
      rateLimit: { credentialsPerMinute: 20, tokensPerMinute: 120, perMinute: 600 }, database: { dialect: 'sqlite', path: join(folder, 'keyturn.db') },
    });
    expect(config.secrets.signingKeys[0].algorithm).toBe('HS256');
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });

  test('a delay before the end in production, where proxies must notice, and none elsewhere unless it is set', () => {
    expect(load(PRODUCTION).shutdownDelayMs).toBe(5000);
    expect([load({}).shutdownDelayMs, load({ NODE_ENV: 'test' }).shutdownDelayMs]).toEqual([0, 0]);
    expect(load({ SHUTDOWN_DELAY_SECONDS: '1.5' }).shutdownDelayMs).toBe(1500);
    expect(load({ ...PRODUCTION, SHUTDOWN_DELAY_SECONDS: '0' }).shutdownDelayMs).toBe(0);
  });

  test('documentation outside production, and in production where it is asked for (ASVS 13.4.5)', () => {
    expect([load({}).docs, load({ NODE_ENV: 'test' }).docs, load(PRODUCTION).docs]).toEqual([true, true, false]);
    expect([load({ DOCS: 'false' }).docs, load({ ...PRODUCTION, DOCS: 'true' }).docs]).toEqual([false, true]);
  });

  test('empty values, as container files have them, count as not set', () => {
    const empty = Object.fromEntries(Object.keys(EnvironmentSchema.properties).map((name) => [name, ' ']));
    const folder = temporaryFolder();
    expect(loadConfig({ ...empty, DATA_DIR: folder })).toEqual(loadConfig({ DATA_DIR: folder }));
  });

  test('a grace just under half of the access token’s life, and none', () => {
    expect(load({ REFRESH_GRACE_SECONDS: '449' }).graceMs).toBe(449_000);
    expect(load({ REFRESH_GRACE_SECONDS: '0', ACCESS_TOKEN_EXPIRE_MINUTES: '0.05' }).graceMs).toBe(0);
  });

  test.each([['46 MiB and one pass', '47104', '1'], ['12 MiB and three', '12288', '3'], ['9 MiB and four', '9216', '4'], ['7 MiB and five', '7168', '5']])('a hash of %s, OWASP’s equals', (_name, memory, passes) => {
    expect(load({ NODE_ENV: 'production', ARGON2_MEMORY_KIB: memory, ARGON2_TIME_COST: passes }).argon2.memoryCost).toBe(Number(memory));
  });

  test('the two spellings of an SQLite address, relative and absolute', () => {
    const pathOf = (url: string) => (load({ DATABASE_URL: url }).database as { path: string }).path;
    expect(['sqlite:app.db', 'sqlite:///./app.db', 'sqlite:///app.db', 'sqlite:./app.db'].map(pathOf)).toEqual(Array(4).fill(join(process.cwd(), 'app.db')));
    expect(['sqlite:/data/app.db', 'sqlite:////data/app.db'].map(pathOf)).toEqual(['/data/app.db', '/data/app.db']);
  });

  test('lists of origins and of proxies', () => {
    expect(load({ ALLOWED_ORIGINS: ' https://app.example.com, http://localhost:3000 ,' }).allowedOrigins).toEqual(['https://app.example.com', 'http://localhost:3000']);
    expect(load({ TRUST_PROXY: '127.0.0.1, 10.0.0.0/8,::1,::1/128, fd00::/8' }).trustProxy).toEqual(['127.0.0.1', '10.0.0.0/8', '::1', '::1/128', 'fd00::/8']);
    expect(load({ TRUST_PROXY: 'false' }).trustProxy).toBe(false);
  });

  test('a mail server, with STARTTLS or TLS from the start, with percent-encoded credentials, and without TLS on this machine only', () => {
    const smtp = (SMTP_URL: string) => load({ SMTP_URL }).mail.smtp;
    expect(smtp('smtp://mail.example.com')).toEqual({ host: 'mail.example.com', port: 587, secure: false, requireTls: true, username: '', password: '', timeoutMs: 10_000 });
    expect(smtp('smtps://user%40example.com:p%40ss%3A%2F%C3%B6@mail.example.com/')).toMatchObject({ port: 465, secure: true, requireTls: false, username: 'user@example.com', password: 'p@ss:/ö' });
    expect(smtp('smtp://[fd00::1]:2525')).toMatchObject({ host: 'fd00::1', port: 2525, requireTls: true });
    for (const host of ['localhost', '127.0.0.1', '127.1.2.3', '[::1]']) expect(smtp(`smtp://${host}:25`)).toMatchObject({ port: 25, requireTls: false });
    for (const host of ['0.0.0.0', 'localhost.example.com', '127.0.0.1.example.com', '10.0.0.1', 'LOCALHOST', '[::]', '[::ffff:127.0.0.1]']) expect(smtp(`smtp://${host}`)).toMatchObject({ requireTls: true });
    const path = join(temporaryFolder(), 'url');
    writeFileSync(path, 'smtp://mail.example.com\n');
    expect(load({ SMTP_URL_FILE: path }).mail.smtp).toMatchObject({ host: 'mail.example.com' });
  });

  test('a sender with a name, with quotes or without, or an address alone', () => {
    const from = (MAIL_FROM: string) => load({ MAIL_FROM }).mail.from;
    expect(from('Example <no-reply@example.com>')).toEqual({ name: 'Example', address: 'no-reply@example.com' });
    expect(from('"Example, Inc." <no-reply@example.com>')).toEqual({ name: 'Example, Inc.', address: 'no-reply@example.com' });
    expect(from('Größe: Söhne & 猫 🥐<no-reply@example.com>')).toEqual({ name: 'Größe: Söhne & 猫 🥐', address: 'no-reply@example.com' });
    for (const alone of ['no-reply@example.com', '<no-reply@example.com>', ' no-reply@example.com ']) expect(from(alone)).toEqual({ name: '', address: 'no-reply@example.com' });
    expect(from('')).toEqual({ name: 'Keyturn', address: 'no-reply@localhost' });
  });

  test('addresses for links, without slashes at the end; http on this machine', () => {
    const url = (APP_URL: string) => load({ APP_URL, PUBLIC_URL: APP_URL }).mail;
    for (const text of ['https://app.example.com', 'https://app.example.com/', 'HTTPS://APP.example.com//']) expect(url(text)).toMatchObject({ appUrl: 'https://app.example.com', publicUrl: 'https://app.example.com' });
    expect(url('https://example.com:8443/app/')).toMatchObject({ appUrl: 'https://example.com:8443/app' });
    for (const text of ['http://localhost:3000', 'http://127.0.0.1:3000', 'http://[::1]:3000']) expect(url(text).appUrl).toBe(text);
    expect(url('')).toMatchObject({ appUrl: null, publicUrl: null });
  });

  test('mail is on outside production without a server, and in production with one', () => {
    expect(load({}).mail).toMatchObject({ enabled: true, smtp: null, templates: null, requireVerification: false, verificationMs: 86_400_000, resetMs: 3_600_000, resetTokenInResponse: false });
    expect(load(PRODUCTION).mail).toMatchObject({ enabled: false });
    expect(load({ ...PRODUCTION, ...MAIL }).mail).toMatchObject({ enabled: true });
    expect(load({ ...PRODUCTION, ...MAIL, APP_URL: '', PUBLIC_URL: 'https://auth.example.com' }).mail).toMatchObject({ appUrl: null, publicUrl: 'https://auth.example.com' });
    expect(load({ MAIL_TEMPLATES: 'templates' }).mail.templates).toBe(join(process.cwd(), 'templates'));
    expect(load({ RESET_TOKEN_IN_RESPONSE: 'true' }).mail.resetTokenInResponse).toBe(true);
  });
});

describe('without TLS', () => {
  const POSTGRES = { DATABASE_URL: 'postgres://user:hunter2@db.example.com/name' };
  const query = (text: string) => ({ DATABASE_URL: `${POSTGRES.DATABASE_URL}?${text}` });

  test.each<[string, Env, RegExp]>([
    ['PostgreSQL on another machine', POSTGRES, /^DATABASE_URL: needs TLS, because db\.example\.com is another machine: add \?sslmode=verify-full; or name the host in PLAINTEXT_HOSTS/],
    ['PostgreSQL, by its address', { DATABASE_URL: 'postgres://user:hunter2@[2001:db8::1]/name' }, /^DATABASE_URL: needs TLS, because 2001:db8::1 /],
    ['PostgreSQL whose certificate is not checked', query('sslmode=no-verify'), /^DATABASE_URL: needs TLS/],
    ['PostgreSQL that may do without', query('sslmode=prefer'), /^DATABASE_URL: needs TLS/],
    ['PostgreSQL with two answers', query('sslmode=verify-full&sslmode=disable'), /^DATABASE_URL: needs TLS/],
    ['PostgreSQL on another machine, named in the query', { DATABASE_URL: 'postgres://user:hunter2@localhost/name?host=db.example.com' }, /^DATABASE_URL: needs TLS, because db\.example\.com /],
    ['the role for migrations', { DATABASE_URL: 'postgres://user@localhost/name', MIGRATION_DATABASE_URL: POSTGRES.DATABASE_URL }, /^MIGRATION_DATABASE_URL: needs TLS/],
    ['a host that is not in the list', { ...POSTGRES, PLAINTEXT_HOSTS: 'example.com,other' }, /^DATABASE_URL: needs TLS/],
    ['Redis on another machine', { REDIS_URL: 'redis://:hunter2@cache' }, /^REDIS_URL: needs TLS, because cache is another machine: begin it with rediss:\/\/; or name the host in PLAINTEXT_HOSTS/],
  ])('%s is refused, and its password is not told', (_name, env, message) => {
    expect(() => load(env)).toThrow(message);
    expect(() => load(env)).not.toThrow(/hunter2/);
  });

  test.each<Env>([
    query('sslmode=verify-full'), query('sslmode=verify-ca&sslrootcert=/ca.pem'), { ...POSTGRES, PLAINTEXT_HOSTS: 'other, db.example.com' },
    { DATABASE_URL: 'postgres://user@localhost/name' }, { DATABASE_URL: 'postgres://user@127.0.0.1/name' }, { DATABASE_URL: 'postgres://user@[::1]/name' },
    { DATABASE_URL: 'postgres://user@localhost/name?host=/var/run/postgresql' }, { REDIS_URL: 'redis://127.0.0.1' }, { REDIS_URL: 'rediss://cache' }, { REDIS_URL: 'redis://cache', PLAINTEXT_HOSTS: 'cache' },
  ])('%j is taken', (env) => {
    expect(load(env)).toBeTruthy();
  });

  test('the target of a move is held to the same', async () => {
    const ended = await cliHere(['move', '--to', POSTGRES.DATABASE_URL], { DATA_DIR: temporaryFolder() });
    expect(ended).toMatchObject({ code: 2, stderr: expect.stringMatching(/--to: needs TLS, because db\.example\.com/) as string });
  });

  test('TLS_CA must name a file with certificates', () => {
    const file = join(temporaryFolder(), 'ca.pem');
    const env = { REDIS_URL: 'rediss://cache', TLS_CA: file };
    expect(() => load(env)).toThrow(/^TLS_CA: cannot be read \(ENOENT\)$/);
    writeFileSync(file, 'nothing');
    expect(() => load(env)).toThrow(/^TLS_CA: holds no PEM certificate$/);
  });
});
