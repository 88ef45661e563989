import { execFile } from 'node:child_process';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LOAD_CORE, type Process } from './processes.ts';

const run = promisify(execFile);
const SCRIPTS = fileURLToPath(new URL('wrk', import.meta.url));

export type Load = { script: 'get' | 'refresh' | 'login'; args: string[]; seconds: number; connections?: number };
export type Measured = { perSecond: number; cpuMicros: number; failed: number; p50Ms: number; p99Ms: number; maxMs: number };

/** Closed loop: wrk on its own core, keep-alive; as many requests as the server answers. What wrk leaves unanswered is waited for, so that it burdens nobody else's turn. */
export async function measure(server: Process, { script, args, seconds, connections = 32 }: Load): Promise<Measured> {
  const cpuBefore = server.cpuSeconds();
  const { stdout } = await run('taskset', [
    '-c', LOAD_CORE, 'wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '30s', '-s', `${SCRIPTS}/${script}.lua`, server.url, '--', ...args,
  ]);
  const cpu = server.cpuSeconds() - cpuBefore;
  await server.idle();
  const result = JSON.parse(/RESULT (.+)/.exec(stdout)?.[1] ?? '{}') as { requests: number; seconds: number; failed: number; p50Ms: number; p99Ms: number; maxMs: number };
  if (result.failed > 0 && script !== 'login') throw new Error(`${result.failed} of ${result.requests} requests of ${script} failed`);
  return { ...result, perSecond: (result.requests - result.failed) / result.seconds, cpuMicros: (cpu / result.requests) * 1e6 };
}

export type Answers = { seconds: number; sent: number; ok: number; refused: number; failed: number; okMs: number[]; refusedMs: number[] };

/** Open loop: so many requests a second, whether answers come or not; times count from when a request was due, `seconds` to the last success. */
export async function offer(url: string, perSecond: number, seconds: number, make: (at: number) => { path: string; headers: Record<string, string>; body?: string }): Promise<Answers> {
  const agent = new Agent({ keepAlive: true, maxSockets: 2_000 });
  const answers: Answers = { seconds: 0, sent: 0, ok: 0, refused: 0, failed: 0, okMs: [], refusedMs: [] };
  const pending: Promise<void>[] = [];
  const startedAt = performance.now();
  for (let at = 0; at < perSecond * seconds; at += 1) {
    const dueAt = startedAt + (at / perSecond) * 1000;
    const wait = dueAt - performance.now();
    if (wait > 1) await sleep(wait);
    answers.sent += 1;
    pending.push(ask(agent, url, make(at)).then((status) => {
      const ms = performance.now() - dueAt;
      if (status === 200) {
        answers.ok += 1;
        answers.seconds = (performance.now() - startedAt) / 1000;
        answers.okMs.push(ms);
      } else if (status === 503 || status === 429) {
        answers.refused += 1;
        answers.refusedMs.push(ms);
      } else answers.failed += 1;
    }));
  }
  await Promise.all(pending);
  agent.destroy();
  return answers;
}

function ask(agent: Agent, url: string, { path, headers, body }: { path: string; headers: Record<string, string>; body?: string }): Promise<number> {
  return new Promise((resolve) => {
    const sent = request(url + path, { agent, method: body === undefined ? 'GET' : 'POST', headers: { ...headers, ...(body !== undefined && { 'content-length': String(Buffer.byteLength(body)) }) } }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    sent.on('error', () => resolve(0));
    sent.end(body);
  });
}

export function percentile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export const median = (values: number[]) => percentile(values, 0.5);
