import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { TEMPLATES, wordDuration } from '../../src/core/letters.ts';
import { startApp, temporaryFolder } from '../support/app.ts';
import { startServer } from '../support/server.ts';
import { startMailApp, startSmtp } from '../support/smtp.ts';

function folderOf(files: Record<string, string | Buffer>): string {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

describe('a folder of templates', () => {
  test('replaces those that are in it, file by file; the others stay', async () => {
    const smtp = await startSmtp();
    const MAIL_TEMPLATES = folderOf({
      'reset-password.txt': '\uFEFFSubject:   Neues Passwort für {{service}}\r\n\r\nHallo {{ email }}!\r\n{{link}} ({{valid_for}})\r\n',
      'layout.html': '<html><body>before {{content}} after</body></html>',
      'password-changed.html': "<p>Das Passwort für {{email}} wurde geändert. $& $' $1</p>",
      'README.md': '{{whatever}}',
    });
    const { queue, queueLink, deliver } = await startMailApp(smtp, { MAIL_TEMPLATES });
    const { token } = await queueLink();
    await queue({ template: 'password_changed', to: 'john@example.com' });
    await deliver();
    const [reset, changed] = smtp.received.sort((a, b) => a.subject.localeCompare(b.subject));
    expect(reset!.subject).toBe('Neues Passwort für Example');
    expect(reset!.text.trim()).toBe(`Hallo john@example.com!\r\nhttps://app.example.com/account/reset-password#token=${token} (1 hour)`);
    expect(reset!.html).toMatch(/^<html><body>before <p>Hello[\s\S]*after<\/body>/);
    expect(changed!.subject).toBe('Your password for Example was changed');
    expect(changed!.html.trim()).toBe("<html><body>before <p>Das Passwort für john@example.com wurde geändert. $& $' $1</p> after</body></html>");
  });

  test.each<[string, Record<string, string | Buffer>, RegExp]>([
    ['a placeholder that there is not', { 'reset-password.txt': 'Subject: x\n\n{{link}} {{name}}' }, /^MAIL_TEMPLATES: reset-password\.txt has \{\{name\}\}; its text may have \{\{service\}\}, \{\{email\}\}, \{\{link\}\}, \{\{valid_for\}\}$/],
    ['a placeholder of another mail', { 'password-changed.html': '<a href="{{link}}">' }, /password-changed\.html has \{\{link\}\}/],
    ['code of a template engine', { 'reset-password.html': '{{link}} {{#each users}}' }, /reset-password\.html has \{\{ without a name/],
    ['a placeholder in capitals', { 'reset-password.html': '{{link}} {{LINK}}' }, /reset-password\.html has \{\{ without a name/],
    ['a link in the subject', { 'reset-password.txt': 'Subject: {{link}}\n\n{{link}}' }, /reset-password\.txt has \{\{link\}\}; its subject may have \{\{service\}\}/],
    ['no subject', { 'account-deleted.txt': 'Hello {{email}}' }, /account-deleted\.txt must begin with a line such as Subject: Welcome$/],
    ['an empty subject', { 'account-deleted.txt': 'Subject: \nHello' }, /account-deleted\.txt must begin with/],
    ['a subject further down', { 'account-deleted.txt': '\nSubject: x\nHello' }, /account-deleted\.txt must begin with/],
    ['no link in the text', { 'verify-email.txt': 'Subject: x\n\nHello' }, /verify-email\.txt has no \{\{link\}\}$/],
    ['no link in the HTML', { 'already-registered.html': '<p>Hello</p>' }, /already-registered\.html has no \{\{link\}\}$/],
    ['a layout without a place for the content', { 'layout.html': '<p>{{contents}}</p>' }, /layout\.html must have \{\{content\}\} once$/],
    ['a layout with two', { 'layout.html': '{{content}}{{content}}' }, /layout\.html must have \{\{content\}\} once$/],
    ['a name that no template has', { 'reset_password.html': '{{link}}' }, /reset_password\.html is not the name of a template; they are layout\.html, verify-email\.txt/],
    ['bytes that are no UTF-8', { 'reset-password.html': Buffer.from('{{link}} für', 'latin1') }, /reset-password\.html is not UTF-8$/],
  ])('with %s stops the start, by the name of the file', async (_name, files, message) => {
    await expect(startApp({ MAIL_TEMPLATES: folderOf(files) })).rejects.toThrow(message);
  });

  test('that is not there, is a file, or holds what cannot be read, stops the start', async () => {
    const folder = temporaryFolder();
    await expect(startApp({ MAIL_TEMPLATES: join(folder, 'missing') })).rejects.toThrow(/^MAIL_TEMPLATES: .*missing cannot be read \(ENOENT\)$/);
    writeFileSync(join(folder, 'file'), '');
    await expect(startApp({ MAIL_TEMPLATES: join(folder, 'file') })).rejects.toThrow(/^MAIL_TEMPLATES: .* cannot be read \(ENOTDIR\)$/);
    mkdirSync(join(folder, 'folder', 'layout.html'), { recursive: true });
    await expect(startApp({ MAIL_TEMPLATES: join(folder, 'folder') })).rejects.toThrow('MAIL_TEMPLATES: layout.html cannot be read (EISDIR)');
  });

  test('with a mistake is told in one line by the process, which ends', async () => {
    await expect(startServer({ DATA_DIR: temporaryFolder(), MAIL_TEMPLATES: folderOf({ 'layout.html': '' }) })).rejects.toThrow(/ended with 1: [^]*\nKeyturn cannot start\. MAIL_TEMPLATES: layout\.html must have/);
  });
});

test('the own templates are two files for each mail and a layout, and load nothing from elsewhere', () => {
  const files = Object.keys(TEMPLATES).flatMap((name) => [`${name.replaceAll('_', '-')}.html`, `${name.replaceAll('_', '-')}.txt`]);
  expect(readdirSync('src/mails').sort()).toEqual([...files, 'layout.html'].sort());
});

test.each([
  [1000, '1 minute'], [59_000, '1 minute'], [90_000, '2 minutes'], [44 * 60_000 + 59_000, '45 minutes'], [3_600_000 - 1500, '1 hour'], [3_600_000, '1 hour'], [75 * 60_000, '75 minutes'],
  [7_200_000, '2 hours'], [86_400_000 - 1500, '24 hours'], [172_800_000, '2 days'], [720 * 3_600_000, '30 days'],
])('%d ms are %s', (milliseconds, words) => {
  expect(wordDuration(milliseconds)).toBe(words);
});

describe('without SMTP_URL', () => {
  test('outside production a mail is printed, to be read and its link to be opened', async () => {
    const server = await startServer({ DATA_DIR: temporaryFolder(), NODE_ENV: 'development', ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '' });
    expect((await server.post('/auth/register', { email: 'john@example.com', password: 'correct horse battery' })).status).toBe(201);
    expect((await server.post('/auth/forgot-password', { email: 'john@example.com' })).status).toBe(200);
    await expect.poll(() => server.output()).toContain('To: john@example.com\nSubject: Choose a new password for Keyturn\n\nHello,');
    expect(server.output()).toContain(`\nhttp://localhost:${new URL(server.url).port}/reset-password#token=`);
  });

  test('the test support reads what is printed', async () => {
    const { post, mails, register } = await startApp();
    await register();
    await mails();
    await post('/auth/forgot-password', { email: 'john@example.com' });
    expect(await mails()).toMatchObject([{ to: 'john@example.com', subject: 'Choose a new password for Keyturn', token: expect.stringMatching(/^[\w-]{43}$/), link: expect.stringMatching(/^http:\/\/localhost:\d+\/reset-password#token=/) }]);
    expect(await mails()).toEqual([]);
  });

  test('in production a mail that was left in the outbox is neither printed nor lost', async () => {
    const folder = temporaryFolder();
    const before = await startMailApp({ url: 'smtp://127.0.0.1:1' }, { DATA_DIR: folder, SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA' });
    await before.queueLink();
    await before.app.close();
    const during = await startApp({ DATA_DIR: folder, NODE_ENV: 'production', ARGON2_MEMORY_KIB: '', ARGON2_TIME_COST: '', SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA' });
    expect(await during.mails()).toEqual([]);
    expect(during.logLines.join('\n')).toMatch(/"event":"mail_failed".*"code":"OFF","reason":"SMTP_URL is not set"/);
    await during.app.close();
    const smtp = await startSmtp();
    const after = await startMailApp(smtp, { DATA_DIR: folder, SECRET_KEY: 'aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA' });
    after.clock.now += 60_000;
    await after.deliver();
    expect(smtp.received).toHaveLength(1);
  });
});
