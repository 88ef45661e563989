import { parseArgs, stripVTControlCharacters } from 'node:util';
import { ConfigError, loadConfig, parseDatabaseUrl } from '../config.ts';
import { requireDatabaseTls } from '../tls-config.ts';
import { Refusal } from '../store/files.ts';
import { backup } from './backup.ts';
import { type Command, COMMON_OPTIONS, CONNECTION, type Context, type Options, parseOptions, UsageError } from './command.ts';
import { manual, overview } from './help.ts';
import { move } from './move.ts';
import { type Output, showProgress } from './progress.ts';
import { restore } from './restore.ts';
import { usersImport } from './users.ts';

const CLEAR_LINE = '\r\u001b[K';
const COMMANDS: Record<string, Command> = { backup, restore, move, 'users import': usersImport };

export type Environment = Record<string, string | undefined>;
export type Streams = { stdout: Output; stderr: Output };

/** Runs the command; yields its exit code: 0 done, 1 failed, 2 not understood, 3 refused. Never throws. */
export async function runCommand(args: string[], env: Environment, { stdout, stderr }: Streams): Promise<0 | 1 | 2 | 3> {
  const json = args.includes('--json');
  const progress = showProgress(stderr, Date.now);
  try {
    const request = parseRequest(args);
    if ('page' in request) {
      stdout.write(request.page);
      return 0;
    }
    const report = (text: string) => void stderr.write(`${stderr.isTTY ? CLEAR_LINE : ''}${text}\n`);
    const { failed = false, json: object, text } = await request.command.run(contextOf(request, env, { progress: progress.begin, report }));
    progress.end();
    stdout.write(json ? `${JSON.stringify({ ok: !failed, command: request.name, ...object })}\n` : `${text}\n`);
    return failed ? 1 : 0;
  } catch (error) {
    progress.end();
    const message = wordsOf(error);
    stderr.write(`keyturn: ${message}\n`);
    const code = codeOf(error);
    if (json) stdout.write(`${JSON.stringify({ ok: false, exitCode: code, error: message })}\n`);
    return code;
  }
}

type Request = { page: string } | { name: string; command: Command; options: Options; file: string };

/** @throws UsageError */
function parseRequest(args: string[]): Request {
  const [name, rest] = splitName(args);
  if (name === undefined) throw new UsageError('a COMMAND is missing; keyturn help lists them');
  if (name === '--help' || name === '-h') return { page: overview(COMMANDS) };
  if (name === 'help') return { page: rest.length === 0 ? overview(COMMANDS) : manual(rest.join(' '), commandOf(rest.join(' '))) };
  const command = commandOf(name);
  const { values, positionals } = parseRest(name, command, rest);
  if (values.help) return { page: manual(name, command) };
  const [file = ''] = positionals;
  if (positionals.length !== (command.takesFile ? 1 : 0) || (command.takesFile && file.trim() === '')) throw new UsageError(`usage: keyturn ${command.synopsis}`);
  return { name, command, options: values, file };
}

/** A command is one word, or two: users import. */
function splitName(args: string[]): [string | undefined, string[]] {
  const words = Object.hasOwn(COMMANDS, args.slice(0, 2).join(' ')) && args.length > 1 ? 2 : 1;
  return [args.length === 0 ? undefined : args.slice(0, words).join(' '), args.slice(words)];
}

function commandOf(name: string): Command {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new UsageError(`there is no command ${JSON.stringify(name)}; keyturn help lists them`);
  return command;
}

function parseRest(name: string, command: Command, args: string[]): { values: Options; positionals: string[] } {
  try {
    return parseArgs({ args, options: parseOptions([...command.options, ...COMMON_OPTIONS]), allowPositionals: true }) as { values: Options; positionals: string[] };
  } catch (error) {
    throw new UsageError(`${firstSentence(error)}; see keyturn help ${name}`);
  }
}

function contextOf(request: Exclude<Request, { page: string }>, env: Environment, output: Pick<Context, 'progress' | 'report'>): Context {
  const config = loadConfig(env, { makeKeys: false });
  return {
    ...request, ...output, now: Date.now, config,
    parseDatabase: (option, url) => {
      const database = parseDatabaseUrl(option, url, CONNECTION);
      if (database.dialect === 'postgres') requireDatabaseTls(option, database.url, config.plaintextHosts);
      return database;
    },
  };
}

function codeOf(error: unknown): 1 | 2 | 3 {
  if (error instanceof Refusal) return 3;
  return error instanceof UsageError || error instanceof ConfigError ? 2 : 1;
}

/** One line, without control characters; of an error that wraps several, the first that says something. */
function wordsOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return wordsOf(error.errors[0]);
  const text = error instanceof Error ? error.message || ((error as NodeJS.ErrnoException).code ?? error.name) : 'an unknown error';
  return stripVTControlCharacters(text).split('\n')[0] ?? '';
}

function firstSentence(error: unknown): string {
  return wordsOf(error).split('. ')[0] ?? '';
}
