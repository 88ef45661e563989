import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { onTestFinished, test } from 'vitest';

const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';
const ARGUMENTS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** A test that needs Chromium. Where there is none it is skipped, and its name says why. */
export const testInChromium: (name: string, run: () => Promise<void>) => void = existsSync(executablePath)
  ? (name, run) => test(name, run)
  : (name, run) => test.skip(`${name} (skipped: there is no ${executablePath}; CHROMIUM_PATH may name another Chromium)`, run);

const running = new Map<string, { browser: Promise<Browser>; users: number; end?: NodeJS.Timeout }>();
const IDLE_MS = 1000;

/** Chromium takes a second to start: tests one after another share a process, until nobody has used it for a while. */
async function borrowChromium(args: string[]): Promise<Browser> {
  const key = args.join(' ');
  const shared = running.get(key) ?? { browser: chromium.launch({ executablePath, args }), users: 0 };
  running.set(key, shared);
  clearTimeout(shared.end);
  shared.users += 1;
  onTestFinished(() => {
    shared.users -= 1;
    if (shared.users > 0) return;
    shared.end = setTimeout(() => {
      running.delete(key);
      void shared.browser.then((browser) => browser.close());
    }, IDLE_MS);
  });
  return shared.browser;
}

/**
 * A profile of its own for one test, with one cookie jar, in Chromium with more arguments. It remembers what any of its pages complains of (console
 * errors and warnings, uncaught exceptions, violations of a Content-Security-Policy) and which hosts they asked.
 */
export async function launchChromium(...more: string[]) {
  const browser = await borrowChromium([...ARGUMENTS, ...more]);
  const context = await browser.newContext({ viewport: { width: 1300, height: 1000 } });
  onTestFinished(() => context.close());
  const complaints: string[] = [];
  const hosts = new Set<string>();
  context.on('console', (message) => {
    if (['error', 'warning', 'assert'].includes(message.type())) complaints.push(message.text());
  });
  context.on('weberror', (error) => void complaints.push(error.error().message));
  context.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:') hosts.add(host);
  });
  await context.addInitScript({
    content: "addEventListener('securitypolicyviolation', (event) => console.error(`policy violated: ${event.effectiveDirective} by ${event.blockedURI}`))",
  });
  return { browser, context, complaints, hosts };
}
