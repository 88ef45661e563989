import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { describeError } from '../../src/log-errors.ts';
import { PASSWORD, temporaryFolder } from '../support/app.ts';
import { query, startCluster } from '../support/postgres.ts';
import { startServer, tokensIn } from '../support/server.ts';
import { spellings } from '../support/spellings.ts';

const SECRET_KEY = 'YSBrZXkgZm9yIHRlc3RzIG9uIFBvc3RncmVTUUwgb25seQ';

test('no address, password, hash, seed or token is in the log, while tables are locked, while PostgreSQL is stopped, and when a statement fails', async () => {
  // PostgreSQL then quotes the parameters in the context of its errors, too
  const cluster = await startCluster({ settings: ['log_parameter_max_length_on_error = -1'] });
  onTestFinished(() => cluster.stop());
  await query(cluster.url('postgres'), 'CREATE DATABASE keyturn');
  const url = cluster.url('keyturn');
  const server = await startServer({ DATA_DIR: temporaryFolder(), DATABASE_URL: url, DATABASE_TIMEOUT_MS: '500', SECRET_KEY, LOG_LEVEL: 'trace' });
  const jane = { email: 'jane.secret@example.com', password: PASSWORD };
  const { access_token, refresh_token } = await tokensIn(await server.post('/auth/register', jane));
  const askAll = async () => {
    const answers = await Promise.all([
      server.post('/auth/register', { email: 'john.secret@example.com', password: 'another secret passphrase' }),
      server.post('/auth/login', jane),
      server.post('/auth/login', { ...jane, password: 'a mistyped passphrase' }),
      server.post('/auth/forgot-password', { email: jane.email }),
      server.post('/auth/refresh', { refresh_token }),
      server.get('/users/me', access_token),
    ]);
    return answers.map(({ status }) => status);
  };

  const locker = new pg.Client({ connectionString: url });
  await locker.connect();
  locker.on('error', () => undefined);
  await locker.query('BEGIN; LOCK users, sessions, mails, one_time_tokens, throttles IN ACCESS EXCLUSIVE MODE');
  expect(new Set(await askAll())).toEqual(new Set([503]));
  await locker.end();

  await query(url, 'ALTER TABLE users ALTER COLUMN email TYPE integer USING 0');
  expect(await askAll()).toContain(500);

  cluster.stop();
  expect(new Set(await askAll())).toEqual(new Set([503]));

  const log = server.output().replaceAll(/\n─── mail [^]*?\n───\n/g, ''); // mails, which are printed where there is no mail server
  for (const event of ['database_away', 'unexpected', '22P02', '"statement":"insert_user"']) expect(log).toContain(event);
  const secrets = ['.secret@', 'secret passphrase', 'mistyped', 'argon2id', PASSWORD, SECRET_KEY, access_token.split('.')[2]!, refresh_token.split('.')[3]!];
  for (const secret of secrets) for (const spelling of spellings(secret)) expect(log.includes(spelling.toString('latin1')), secret).toBe(false);
  expect(log).not.toMatch(/params|Failed query/);
});

test('an error of the driver that reaches the logger all the same is shown without its message', () => {
  const driver = Object.assign(new pg.DatabaseError('invalid input: "jane"', 1, 'error'), { code: '22P02', severity: 'ERROR', detail: 'jane', where: '$1 = jane' });
  const drizzle = Object.assign(new Error('Failed query: select\nparams: jane', { cause: driver }), { params: ['jane'], query: 'select' });
  const shown = describeError(new Error('outer', { cause: drizzle }));
  expect(shown).toMatchObject({ type: 'Error', message: 'outer', cause: { type: 'Error', cause: { type: 'DatabaseError', code: '22P02' } } });
  expect(JSON.stringify(shown)).not.toContain('jane');
  expect(JSON.stringify(shown)).toContain('secrecy.test.ts');
  expect(describeError('jane')).toEqual({ type: 'string', message: '', stack: '' });
});
