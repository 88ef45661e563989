import { parseArgs, stripVTControlCharacters } from 'node:util';
import { ConfigError, loadConfig, parseDatabaseUrl } from '../config.ts';
import { Refusal } from '../store/files.ts';
import { backup } from './backup.ts';
import { type Command, COMMON_OPTIONS, type Context, type Options, parseOptions, UsageError } from './command.ts';
import { manual, overview } from './help.ts';
import { move } from './move.ts';
import { type Output, showProgress } from './progress.ts';
import { restore } from './restore.ts';

const DATABASE_TIMEOUT_MS = 10_000;
const COMMANDS: Record<string, Command> = { backup, restore, move };

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
    const result = await request.command.run(contextOf(request, env, progress.begin));
    progress.end();
    stdout.write(json ? `${JSON.stringify({ ok: true, command: request.name, ...result.json })}\n` : `${result.text}\n`);
    return 0;
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
  const [name, ...rest] = args;
  if (name === undefined) throw new UsageError('a COMMAND is missing; keyturn help lists them');
  if (name === '--help' || name === '-h') return { page: overview(COMMANDS) };
  if (name === 'help') return { page: rest[0] === undefined ? overview(COMMANDS) : manual(rest[0], commandOf(rest[0])) };
  const command = commandOf(name);
  const { values, positionals } = parseRest(name, command, rest);
  if (values.help) return { page: manual(name, command) };
  const [file = ''] = positionals;
  if (positionals.length !== (command.takesFile ? 1 : 0) || (command.takesFile && file.trim() === '')) throw new UsageError(`usage: keyturn ${command.synopsis}`);
  return { name, command, options: values, file };
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

function contextOf(request: Exclude<Request, { page: string }>, env: Environment, progress: Context['progress']): Context {
  return {
    ...request, progress, now: Date.now, config: loadConfig(env),
    parseDatabase: (option, url) => parseDatabaseUrl(option, url, { poolSize: 1, timeoutMs: DATABASE_TIMEOUT_MS }),
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
