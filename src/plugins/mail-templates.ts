import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../config.ts';
import { findTemplateFault, type Template, TEMPLATES, type TemplateName, type Templates } from '../core/letters.ts';

const OWN = fileURLToPath(new URL('../mails', import.meta.url));
const LAYOUT = 'layout.html';
const NAMES = Object.keys(TEMPLATES) as TemplateName[];
const fileOf = (name: TemplateName, kind: 'txt' | 'html') => `${name.replaceAll('_', '-')}.${kind}`;
const FILES = [LAYOUT, ...NAMES.flatMap((name) => [fileOf(name, 'txt'), fileOf(name, 'html')])];

/**
 * Reads every template, each file from the folder if it is there, else from src/mails, and checks it: a mistake is found
 * at start, not when the mail is needed.
 * @throws ConfigError that names the file
 */
export function loadTemplates(folder: string | null): Templates {
  const replaced = folder === null ? [] : listFolder(folder);
  const read = (file: string) => readText(replaced.includes(file) ? join(folder as string, file) : join(OWN, file), file);
  const layout = read(LAYOUT);
  if (layout.split('{{content}}').length !== 2) throw new ConfigError('MAIL_TEMPLATES', `${LAYOUT} must have {{content}} once`);
  const load = (name: TemplateName): Template => {
    const [first = '', ...rest] = read(fileOf(name, 'txt')).split('\n');
    const [, subject] = /^Subject: *(\S.*)$/.exec(first.trimEnd()) ?? [];
    if (subject === undefined) throw new ConfigError('MAIL_TEMPLATES', `${fileOf(name, 'txt')} must begin with a line such as Subject: Welcome`);
    const text = rest.join('\n').trim();
    const html = layout.replace('{{content}}', () => read(fileOf(name, 'html')).trim());
    check(fileOf(name, 'txt'), findTemplateFault(name, 'subject', subject) ?? findTemplateFault(name, 'text', text));
    check(fileOf(name, 'html'), findTemplateFault(name, 'html', html));
    return { subject, text, html };
  };
  return Object.fromEntries(NAMES.map((name) => [name, load(name)])) as Templates;
}

function check(file: string, fault: string | null) {
  if (fault) throw new ConfigError('MAIL_TEMPLATES', `${file} ${fault}`);
}

function listFolder(folder: string): string[] {
  let files: string[];
  try {
    files = readdirSync(folder).filter((file) => /\.(txt|html)$/.test(file));
  } catch (error) {
    throw new ConfigError('MAIL_TEMPLATES', `${folder} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  const stranger = files.find((file) => !FILES.includes(file));
  if (stranger !== undefined) throw new ConfigError('MAIL_TEMPLATES', `${stranger} is not the name of a template; they are ${FILES.join(', ')}`);
  return files;
}

function readText(path: string, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path)).replaceAll('\r\n', '\n');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError('MAIL_TEMPLATES', `${file} ${code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8' : `cannot be read (${code})`}`);
  }
}
