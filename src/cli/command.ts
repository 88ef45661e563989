import type { ParseArgsConfig } from 'node:util';
import type { Config } from '../config.ts';
import type { DatabaseOptions } from '../store/db.ts';
import type { OnProgress } from '../store/files.ts';

/** What was typed is not a command; exit code 2. */
export class UsageError extends Error {}

export type Options = Record<string, string | boolean | undefined>;
/** What a command is given: its arguments, the server's configuration, and somewhere to show progress. */
export type Context = {
  options: Options;
  file: string;
  config: Config;
  /** Reads an address as DATABASE_URL is read. @throws UsageError */
  parseDatabase: (option: string, url: string) => DatabaseOptions;
  progress: (step: string) => OnProgress;
  /** Writes a line to standard error. */
  report: (text: string) => void;
  now: () => number;
};
/** The result as one JSON object, and in words; one that failed in part ends with 1. */
export type Result = { json: Record<string, unknown>; text: string; failed?: boolean };

export type Command = {
  synopsis: string;
  /** one line, for the list of commands */
  summary: string;
  description: string;
  options: { name: string; value?: string; description: string }[];
  /** whether it takes a FILE */
  takesFile: boolean;
  /** when this command ends with 1 and, if ever, with 3; 0 and 2 are the same everywhere */
  exits: { failed: string; refused?: string };
  example: string;
  run: (context: Context) => Promise<Result>;
};

/** How a command connects to PostgreSQL: it does one thing after the other. */
export const CONNECTION = { poolSize: 1, timeoutMs: 10_000 };

/** Understood by every command. */
export const COMMON_OPTIONS: Command['options'] = [
  { name: 'json', description: 'print the result as one JSON object on standard output' },
  { name: 'help', description: 'print this page' },
];

export function parseOptions(options: Command['options']): NonNullable<ParseArgsConfig['options']> {
  return Object.fromEntries(options.map(({ name, value }) => [name, { type: value ? 'string' as const : 'boolean' as const, ...(name === 'help' && { short: 'h' }) }]));
}
