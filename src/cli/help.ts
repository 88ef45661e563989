import { type Command, COMMON_OPTIONS } from './command.ts';

const ENVIRONMENT = `It reads the same configuration as the server: the environment, and .env in the current folder.`;

/** The page that lists all commands. */
export function overview(commands: Record<string, Command>): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`);
  return `keyturn: the operator's command of the Keyturn session server

usage: keyturn COMMAND [options]

${lines.join('\n')}
  help         print this page, or with a COMMAND the one on it

${ENVIRONMENT}
Results go to standard output (with --json as one JSON object), progress and messages to standard error.

exit codes
  0  done
  1  failed; what went wrong is on standard error
  2  not understood, or not possible with this configuration; nothing was done
  3  refused, because it would have done harm; nothing was done
`;
}

/** The page on one command. */
export function manual(name: string, command: Command): string {
  const options = [...command.options, ...COMMON_OPTIONS].map((option) =>
    `  ${`--${option.name}${option.value ? ` ${option.value}` : ''}`.padEnd(18)} ${option.description}`);
  return `keyturn ${name}: ${command.summary}

usage: keyturn ${command.synopsis}

${command.description}
${ENVIRONMENT}

options
${options.join('\n')}

exit codes
  0  done
  1  failed: ${command.exits.failed}
  2  not understood, or not possible with this configuration; nothing was done
${command.exits.refused === undefined ? '' : `  3  refused, nothing was done: ${command.exits.refused}
`}
example
${command.example}
`;
}
