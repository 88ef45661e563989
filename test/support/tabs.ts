import type { BrowserContext, Page } from 'playwright-core';
import { expect } from 'vitest';

export type Tab = Awaited<ReturnType<typeof openTab>>;
type Options = {
  /** where Keyturn is; the page's own origin if left out */
  server?: string;
  /** what runs in the page before anything else */
  before?: string;
  /** the page is to call begin() itself */
  later?: boolean;
  tokenOrigins?: string[];
  resume?: 'always' | 'marked';
};

/** A tab with the proxy's app, whose client uses Keyturn at `server`. */
export async function openTab(context: BrowserContext, origin: string, { server = origin, before, later, ...options }: Options = {}) {
  const page: Page = await context.newPage();
  if (before) await page.addInitScript({ content: before });
  const query = new URLSearchParams({ client: `${server}/client.js`, options: JSON.stringify({ baseUrl: server, ...options }), ...(later && { later: '' }) });
  const run = <T = unknown>(script: string): Promise<T> => page.evaluate<T>(script);
  const load = async () => {
    await page.goto(`${origin}/app?${query.toString()}`);
    await run('ready');
  };
  await load();
  return {
    page, run, load,
    reload: async () => {
      await page.reload();
      await run('ready');
    },
    /** The address of the user, null when signed out, undefined while that is not known. */
    user: () => run<string | null | undefined>('globalThis.keyturn?.user && keyturn.user.email'),
    /** Waits until the client says so. */
    async becomes(email: string | null): Promise<void> {
      await expect.poll(() => run('globalThis.keyturn?.user && keyturn.user.email')).toBe(email);
    },
    register: (email: string) => run(`keyturn.register({ email: '${email}', password: 'correct horse battery' }).then(({ email }) => email)`),
    login: (email: string) => run(`keyturn.login({ email: '${email}', password: 'correct horse battery' }).then(({ email }) => email)`),
    /** What GET /users/me answers to the client's own fetch. */
    ask: () => run<string>(`keyturn.fetch('${server}/users/me').then(async (answer) => answer.status + ' ' + (await answer.json()).email)`),
    /** Every user that the page was told of, in order. */
    seen: () => run<(string | null)[]>('seen'),
  };
}

/** Takes away what the client can do without. */
export const without = {
  channel: 'delete globalThis.BroadcastChannel;',
  locks: "Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined });",
  storage: "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(globalThis, name, { get() { throw new DOMException('denied', 'SecurityError'); } });",
};
export const withoutAll = Object.values(without).join('\n');
