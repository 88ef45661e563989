import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { EnvironmentSchema } from '../../src/environment.ts';
import { temporaryFolder } from '../support/app.ts';
import { makeSecrets, readCompose, type Service } from '../support/compose.ts';

const { services, networks, volumes, configs } = readCompose();
const each = Object.entries(services);
const volumesOf = ({ volumes: mounts = [] }: Service) => mounts.map((mount) => mount.split(':') as [name: string, target: string, mode?: string]);
const isInternal = (name: string) => networks[name]?.internal === true;
/** Only root can give files away, as the container does. */
const ownId = process.getuid?.() ?? 0;

describe('docker-compose.yml', () => {
  test('publishes its ports on this machine only', () => {
    expect(each.flatMap(([name, { ports = [] }]) => ports.map((port) => [name, port]))).toEqual([['api', '127.0.0.1:8000:8000'], ['proxy', '127.0.0.1:8080:80']]);
  });

  test('names only what it declares, and declares only what it names', () => {
    const used = (pick: (service: Service) => string[]) => [...new Set(each.flatMap(([, service]) => pick(service)))].sort();
    expect(used((service) => volumesOf(service).map(([name]) => name))).toEqual(Object.keys(volumes).sort());
    expect(used(({ networks: names = [] }) => names)).toEqual(Object.keys(networks).sort());
    expect(used(({ configs: names = [] }) => names.map(({ source }) => source))).toEqual(Object.keys(configs).sort());
    for (const dependency of each.flatMap(([, { depends_on = {} }]) => Object.keys(depends_on))) expect(services).toHaveProperty(dependency);
  });

  test('gives the secrets of one container to that container alone, and not for writing', () => {
    const readers = Object.keys(volumes).filter((name) => name.startsWith('secrets-')).map((volume) =>
      [volume, ...each.flatMap(([name, service]) => volumesOf(service).filter(([mounted]) => mounted === volume).map(([, target, mode]) => `${name} ${target} ${mode ?? 'rw'}`))]);
    expect(readers).toEqual([
      ['secrets-api', 'copies /secrets ro', 'secrets /secrets/api rw'],
      ['secrets-postgres', 'postgres /secrets ro', 'secrets /secrets/postgres rw'],
      ['secrets-redis', 'redis /secrets ro', 'secrets /secrets/redis rw'],
    ]);
    expect(services.secrets).toMatchObject({ network_mode: 'none', read_only: true, cap_drop: ['ALL'] });
  });

  test('limits the memory, the processes and the log of every container, which can gain no rights', () => {
    for (const [name, service] of each) {
      expect(service, name).toMatchObject({
        mem_limit: expect.stringMatching(/^\d+[mg]$/) as string, pids_limit: 200, security_opt: ['no-new-privileges:true'],
        logging: { driver: 'json-file', options: { 'max-size': '10m', 'max-file': '5' } },
      });
    }
    for (const name of ['api', 'copies']) expect(services[name], name).toMatchObject({ read_only: true, cap_drop: ['ALL'], tmpfs: '/tmp', stop_grace_period: expect.stringMatching(/^[2-9]\ds$/) as string });
  });

  test('keeps database and Redis on a network without a way out, from which the proxy is absent', () => {
    expect(['postgres', 'redis'].map((name) => services[name]?.networks)).toEqual([['data'], ['data']]);
    expect(isInternal('data')).toBe(true);
    expect(services.proxy?.networks).toEqual(['inside', 'outside']);
    expect([services.copies?.networks?.filter(isInternal), services.copies?.networks?.filter((name) => !isInternal(name))]).toEqual([['inside', 'data'], ['way-out']]);
    expect(each.filter(([, service]) => service.networks?.includes('inside')).map(([name]) => name), 'who can pretend to be the proxy').toEqual(['copies', 'proxy']);
  });

  test('trusts the network of its proxy, of whatever range it is', () => {
    for (const env of [{}, { PROXY_SUBNET: '10.99.0.0/24' }]) {
      const compose = readCompose(env);
      expect(compose.services.copies?.environment?.TRUST_PROXY).toBe(compose.networks.inside?.ipam?.config[0]?.subnet);
    }
  });

  test('names other images by major and minor version', () => {
    expect(each.filter(([, { build }]) => build === undefined).map(([, { image }]) => image.replace(/\d+\.\d+$/, 'N.N'))).toEqual(['nginx:N.N', 'postgres:N.N', 'redis:N.N']);
  });

  test('hands .env on in both profiles, shows its documentation unless told otherwise, and keeps backups in a volume', () => {
    for (const name of ['api', 'copies']) {
      expect(services[name], name).toMatchObject({ env_file: [{ path: '.env', required: false }], environment: { DOCS: 'true', NODE_ENV: 'production' } });
      expect(readCompose({ DOCS: 'false' }).services[name]?.environment?.DOCS).toBe('false');
    }
    expect(services.api?.volumes).toEqual(['data:/data', 'backups:/backups']);
    expect(readFileSync(join(import.meta.dirname, '../../Dockerfile'), 'utf8'), 'a new volume is owned as the folder in the image').toMatch(/^RUN install -d -m 0700 -o node -g node \/data \/backups$/m);
  });
});

describe('the secrets of the larger profile', () => {
  const read = (folder: string) => Object.fromEntries(['api', 'postgres', 'redis'].flatMap((owner) =>
    readdirSync(join(folder, owner)).map((name) => [`${owner}/${name}`, readFileSync(join(folder, owner, name), 'utf8')])));
  const passwordIn = (url = '') => new URL(url).password;

  test('are random, agree with each other, and never change', () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    const first = read(folder);
    expect(Object.keys(first)).toEqual([
      'api/database_url', 'api/migration_database_url', 'api/redis_url', 'api/secret_key',
      'postgres/admin_password', 'postgres/owner_password', 'postgres/server_password', 'redis/password', 'redis/redis.conf',
    ]);
    expect([passwordIn(first['api/database_url']), passwordIn(first['api/migration_database_url']), passwordIn(first['api/redis_url'])])
      .toEqual([first['postgres/server_password'], first['postgres/owner_password'], first['redis/password']]);
    expect(first['redis/redis.conf']).toContain(`requirepass ${first['redis/password']}\n`);
    const passwords = Object.entries(first).filter(([name]) => /password$|secret_key/.test(name)).map(([, text]) => text);
    expect([passwords.length, new Set(passwords).size, passwords.filter((text) => !/^[0-9a-f]{64,}$/.test(text))]).toEqual([5, 5, []]);
    makeSecrets(folder);
    expect(read(folder)).toEqual(first);
  });

  test('of one container are not in the files of another, but for the password that both need', () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    const all = read(folder);
    const inOthers = (secret: string, owner: string) => Object.keys(all).filter((name) => !name.startsWith(`${owner}/`) && all[name]?.includes(secret));
    expect(inOthers(all['api/secret_key']!, 'api')).toEqual([]);
    expect(inOthers(all['postgres/admin_password']!, 'postgres')).toEqual([]);
    expect(inOthers(all['redis/password']!, 'redis')).toEqual(['api/redis_url']);
  });

  test('are completed, not replaced, after a run that was killed', () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    const first = read(folder);
    for (const name of ['api/database_url', 'api/redis_url', 'redis/redis.conf']) rmSync(join(folder, name));
    writeFileSync(join(folder, 'api/database_url.part'), 'half of a');
    makeSecrets(folder);
    expect(read(folder)).toEqual(first);
  });

  test('of the server can be read by its user alone', () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    for (const name of readdirSync(join(folder, 'api'))) {
      const { uid, mode } = statSync(join(folder, 'api', name));
      expect([name, uid, mode & 0o777]).toEqual([name, ownId || 1000, 0o400]);
    }
    const { uid, mode } = statSync(join(folder, 'postgres/owner_password'));
    expect([uid, mode & 0o777]).toEqual([ownId, 0o444]);
  });
});

describe.each(['api', 'copies'])('the environment of %s', (name) => {
  const environment = services[name]?.environment ?? {};

  test('has only names that the server knows', () => {
    expect(Object.keys(environment).filter((key) => !Object.hasOwn(EnvironmentSchema.properties, key.replace(/_FILE$/, '')))).toEqual([]);
  });

  test('is a configuration that the server takes', () => {
    const folder = temporaryFolder();
    makeSecrets(folder);
    const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, String(value).replace(/^\/secrets\//, `${folder}/api/`)]));
    const config = loadConfig({ ...env, DATA_DIR: join(folder, 'data') });
    expect(config).toMatchObject({ production: true, docs: true, host: '0.0.0.0' });
    if (name === 'copies') {
      expect(config).toMatchObject({ database: { dialect: 'postgres', migrationUrl: expect.stringContaining('keyturn_owner') as string }, redis: { host: 'redis' }, trustProxy: ['10.203.71.0/24'] });
    }
  });
});
