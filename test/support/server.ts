import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { databaseFor, TEST_ENVIRONMENT } from './app.ts';

export type Server = Awaited<ReturnType<typeof startServer>>;

/** The server as a process of its own, as `npm start` runs it, on a free port; it is gone after the test, or after what is named. */
export async function startServer(env: Record<string, string>, after: (stop: () => Promise<void>) => void = onTestFinished) {
  const child = spawn(process.execPath, ['--max-semi-space-size=4', '--import', './src/compile-cache.js', 'src/server.ts'], {
    env: { PATH: process.env.PATH, ...TEST_ENVIRONMENT, LOG_LEVEL: 'info', ...(env.DATA_DIR && (await databaseFor(env.DATA_DIR))), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  after(async () => { await kill(child, 'SIGKILL'); });
  const output: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${output.join('')}`)));
    child.stdout.on('data', (chunk: Buffer) => {
      output.push(chunk.toString());
      const address = /"address":"([^"]+)"/.exec(output.join(''))?.[1];
      if (address) resolve(address);
    });
  });
  const post = (path: string, body?: object, headers: Record<string, string> = {}) => fetch(url + path, {
    method: 'POST',
    headers: { ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  });
  return {
    url, post, child,
    output: () => output.join(''),
    get: (path: string, accessToken?: string) => fetch(url + path, { headers: accessToken === undefined ? {} : { authorization: `Bearer ${accessToken}` } }),
    /** Sends the signal and waits for the end; yields the exit code. */
    stop: (signal: NodeJS.Signals) => kill(child, signal),
  };
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  child.kill(signal);
  await once(child, 'exit');
  return child.exitCode;
}

export type Tokens = { access_token: string; refresh_token: string };

export async function tokensIn(answer: Response): Promise<Tokens> {
  if (!answer.ok) throw new Error(`expected tokens, got ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Tokens;
}
