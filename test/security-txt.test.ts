import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, test } from 'vitest';
import { startApp } from './support/app.ts';
import { readDocument } from './support/openapi.ts';

const PATH = '/.well-known/security.txt';
const CONTACTS = 'mailto:security@example.com, https://example.com/security';
const DAY_MS = 86_400_000;

test('SECURITY_CONTACT is what /.well-known/security.txt says, always good for months and never for a year (RFC 9116)', async () => {
  const { get, clock } = await startApp({ SECURITY_CONTACT: CONTACTS, PUBLIC_URL: 'https://auth.example.com/' });
  for (const days of [0, 400]) {
    clock.now += days * DAY_MS;
    const { statusCode, headers, body } = await get(PATH);
    expect([statusCode, headers['content-type']]).toEqual([200, 'text/plain; charset=utf-8']);
    const [, expires = ''] = /^Expires: (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$/m.exec(body) ?? [];
    expect(body).toBe([
      'Contact: mailto:security@example.com', 'Contact: https://example.com/security', `Expires: ${expires}`,
      `Canonical: https://auth.example.com${PATH}`, '',
    ].join('\n'));
    expect(Date.parse(expires) - clock.now).toBeGreaterThan(30 * DAY_MS);
    expect(Date.parse(expires) - clock.now).toBeLessThan(365 * DAY_MS);
  }
});

test('without PUBLIC_URL it has no Canonical, and without SECURITY_CONTACT there is none', async () => {
  expect((await (await startApp({ SECURITY_CONTACT: CONTACTS })).get(PATH)).body).not.toContain('Canonical');
  expect((await (await startApp()).get(PATH)).statusCode).toBe(404);
});

test('it is in the OpenAPI document where it is served', async () => {
  const { document, find } = await readDocument({ SECURITY_CONTACT: CONTACTS });
  expect((await new Validator().validate(structuredClone(document))).errors).toBeUndefined();
  expect(find('getSecurityContact')).toMatchObject({ path: PATH, responses: { 200: { content: { 'text/plain': {} } } } });
  expect(JSON.stringify((await readDocument()).document)).not.toContain('security.txt');
});
