/** A signed-up user, as the server describes it. */
export type User = { id: string; email: string | null; username: string | null; email_verified: boolean; roles: string[]; created_at: string };
/** One place where the user is signed in. */
export type Session = {
  id: string; device: string | null; address: string; created_at: string; last_used_at: string; idle_expires_at: string; expires_at: string;
  current: boolean;
};
/** Who signs up or in: by e-mail address or by username. */
export type Identifier = { email: string; username?: string } | { email?: string; username: string };
export type Message = { msg: string };
export type Listener = (user: User | null) => void;
export type Client = ReturnType<typeof createClient>;

export type ClientOptions = {
  /** where the server is, with the path prefix of a reverse proxy if there is one; if left out, the origin of this page */
  baseUrl?: string;
  /** origins that `fetch` gives the access token to, beside those of the server and of this page */
  tokenOrigins?: string[];
  /** 'marked': a new page asks for its session only where localStorage says that there was one, or cannot be asked */
  resume?: 'always' | 'marked';
};

type Tokens = { access_token: string; expires_in: number; user?: User };
/** `user` is null when signed out, undefined while that is not known. Times are milliseconds of a clock that nobody sets. */
type State = { user: User | null | undefined; token: string; sid: string; since: number; life: number };
/** What tabs tell each other: their session, or only the id of one that is over. */
type News = { sid: string; user?: User; token?: string; life?: number; age?: number };

/** Under the server's grace, so that a refresh whose answer is lost is repeated while its token is still excused. */
const TIME_LIMIT_MS = 10_000;
const LOCK_LIMIT_MS = 3_000;
const MAX_PAUSE_MS = 30_000;
const MAX_RETRY_AFTER_S = 300;
const NOWHERE = { token: '', sid: '', since: 0, life: 0 };

/** What a page has; a worker has less of it. */
const page = globalThis as Partial<Pick<Window, 'addEventListener' | 'document' | 'location'>>;
const now = () => performance.now();
const ignore = () => undefined;

/** A request that failed. `status` is 0, and `code` is 'network', when there was no answer. */
export class KeyturnError extends Error {
  override name = 'KeyturnError';
  readonly status: number;
  /** for programs */
  readonly code: string;
  /** which fields broke which rule */
  readonly errors: { pointer: string; detail: string }[];
  /** seconds, where the server said so */
  readonly retryAfter: number | undefined;
  /** as in the server's log */
  readonly requestId: string | undefined;

  constructor(status: number, code: string, detail: string, more: Partial<Pick<KeyturnError, 'errors' | 'retryAfter'>> & { request_id?: string } = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.errors = more.errors ?? [];
    this.retryAfter = more.retryAfter;
    this.requestId = more.request_id;
  }

  /** for people */
  get detail(): string {
    return this.message;
  }
}

/**
 * Signs a user of this page up, in and out, and keeps the session. The access token lives in memory only, the refresh
 * token in a cookie that no script can read. Nothing but the server's definite 401 to a refresh counts as signed out.
 */
export function createClient({ baseUrl = '/', tokenOrigins = [], resume = 'always' }: ClientOptions = {}) {
  const here = page.location?.href;
  const base = new URL(baseUrl, here).href.replace(/\/+$/, '');
  const keeper = new Keeper(base, resume);
  const origins = [base, ...(here ? [here] : []), ...tokenOrigins];
  const authorizedFetch = fetchFor(keeper, origins);
  const authorizedAlone = fetchFor(keeper, origins, (request) => keeper.alone(() => fetch(request)));
  const post = <T>(path: string, body?: object) => call<T>(base + path, 'POST', body);
  const authorized = <T>(method: string, path: string, body?: object) => call<T>(base + path, method, body, authorizedFetch);
  const learn = async (method: string, body?: object) => keeper.describe(await authorized<User>(method, '/users/me', body));

  return {
    /** Signs up, and in; null where the server wants the address verified first. */
    register: (body: Identifier & { password: string }) => keeper.enter('/auth/register', body),
    login: (body: Identifier & { password: string }) => keeper.enter('/auth/login', body) as Promise<User>,
    /** Signs out here, everywhere else, or everywhere. Rejects, and leaves all as it was, where the server did not confirm it. */
    logout: ({ scope = 'current' }: { scope?: 'current' | 'others' | 'all' } = {}) => keeper.leave(scope),
    /** Signed in or not, and as whom: asks the server, by the cookie. Rejects when that cannot be known now. */
    refresh: async () => {
      await keeper.renew();
      return keeper.state.user ?? null;
    },

    me: () => learn('GET'),
    updateMe: (body: { email?: string; username?: string; password: string }) => learn('PATCH', body),
    deleteMe: async (body: { password: string }) => {
      const { user } = keeper.state;
      await authorized('DELETE', '/users/me', body);
      if (user?.id === keeper.state.user?.id) keeper.settle(null);
    },
    /** All pages of the list, the newest sign-in first. */
    sessions: async () => {
      const sessions: Session[] = [];
      for (let next: string | null = ''; next !== null;) {
        const page: { sessions: Session[]; next: string | null } = await authorized('GET', `/auth/sessions${next && `?after=${next}`}`);
        sessions.push(...page.sessions);
        ({ next } = page);
      }
      return sessions;
    },
    endSession: async (id: string) => {
      await authorized('DELETE', `/auth/sessions/${encodeURIComponent(id)}`);
      if (id === keeper.state.sid) keeper.settle(null);
    },

    /** Ends all sessions. With the old password this page has a new one at once; with the token of a mail, none. */
    changePassword: async (body: { old_password: string; new_password: string } | { token: string; new_password: string }) => {
      const path = '/auth/change-password';
      if ('old_password' in body) {
        const since = now();
        const tokens = await call<Tokens & Message>(base + path, 'POST', body, authorizedAlone);
        keeper.adopt(tokens, since);
        return { msg: tokens.msg };
      }
      const answer = await keeper.alone(() => post<Message>(path, body));
      if (keeper.state.user) await keeper.renew().catch(ignore);
      return answer;
    },
    /** By an address; or by the token of an older mail, also an expired one, which strangers' requests do not hold back. */
    forgotPassword: (body: { email: string } | { token: string }) => post<Message & { reset_token?: string }>('/auth/forgot-password', body),
    /** Fails with the code `password_required` where another browser registered the account: then send the password, too. */
    verifyEmail: async (body: { token: string; password?: string }) => {
      const answer = await post<Message>('/auth/verify-email', body);
      if (keeper.state.user) await learn('GET').catch(ignore);
      return answer;
    },
    /** “This was not me”: deletes an account that somebody else registered with the address of this mail. */
    rejectRegistration: (body: { token: string }) => post<Message>('/auth/verify-email/reject', body),
    /** To an address, or to that of the signed-in user. */
    resendVerification: async (body?: { email: string }) => {
      const path = '/auth/verify-email/resend';
      return body ? post<Message>(path, body) : authorized<Message>('POST', path);
    },

    fetch: authorizedFetch,
    /** An access token that is good for a while, null when signed out. Rejects when that cannot be known now. */
    accessToken: async () => {
      await keeper.ensure();
      return keeper.state.token || null;
    },
    /** Seconds that the access token in memory is still good for. */
    expiresIn: () => Math.max(0, keeper.remaining() / 1000),
    /** null when signed out, undefined while that is not known */
    get user() {
      return keeper.state.user;
    },
    /** Calls the listener with the user, or null, as soon as that is known, and on every change. Yields what ends this. */
    onChange: (listener: Listener) => keeper.listen(listener),
    /** Lets go of timers and channels. The session stays. */
    close: () => keeper.close(),
  };
}

/**
 * fetch with the access token: for the origins that may have it; any other is refused with a TypeError. After a 401 it
 * repeats once, with a new token. What was begun as one user is never sent as another.
 */
function fetchFor(
  keeper: Keeper, urls: string[], transmit: (request: Request) => Promise<Response> = fetch,
): (input: RequestInfo | URL, init?: RequestInit) => Promise<Response> {
  const origins = new Set(urls.map((url) => new URL(url).origin));
  return async (input, init) => {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!origins.has(origin)) throw new TypeError(`Keyturn: ${origin} is not one of tokenOrigins`);
    const again = request.clone();
    let owner = keeper.state.user?.id;
    const send = (each: Request) => {
      const { user, token } = keeper.state;
      if (owner && user && user.id !== owner) throw new KeyturnError(0, 'user_changed', 'Another user has signed in');
      owner = user?.id;
      if (token) each.headers.set('authorization', `Bearer ${token}`);
      return transmit(each);
    };
    await keeper.ensure();
    const used = keeper.state.token;
    const answer = await send(request);
    if (answer.status !== 401 || !used || (await isAboutPassword(answer))) return answer;
    if (keeper.state.token === used) await keeper.renew().catch(ignore);
    const { token } = keeper.state;
    return token && token !== used ? send(again) : answer;
  };
}

/** Keeps the session of one tab, and in step with those of the other tabs. */
class Keeper {
  state: State = { user: undefined, ...NOWHERE };
  readonly #base: string;
  readonly #name: string;
  readonly #listeners = new Set<Listener>();
  readonly #end = new AbortController();
  /** sessions that this browser has left; late news of them is no news */
  readonly #past = new Set<string>();
  #channel: BroadcastChannel | undefined;
  /** counts changes of session: an answer that was asked for under another one is dropped */
  #era = 0;
  #due = 0;
  #failures = 0;
  #failure: KeyturnError | undefined;
  #blockedUntil = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #renewing: Promise<void> | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(base: string, resume: ClientOptions['resume']) {
    this.#base = base;
    this.#name = `keyturn 1 ${base}`;
    this.#channel = this.#join();
    const { signal } = this.#end;
    const wake = () => this.#wake();
    page.addEventListener?.('online', wake, { signal });
    page.addEventListener?.('pageshow', ({ persisted }) => persisted && this.#check(), { signal });
    page.document?.addEventListener('visibilitychange', wake, { signal });
    if (resume === 'marked' && !isMarked(this.#name)) this.#become(null);
    else this.#plan();
  }

  remaining(): number {
    return this.state.since + this.state.life - now();
  }

  /** Waits until there is a token that is good for a while, or none to be had. */
  async ensure(): Promise<void> {
    if (this.state.user === null || this.#isUsable()) return;
    await this.renew().catch((error: unknown) => {
      if (this.remaining() <= 0) throw error;
    });
  }

  /** Another token, or none: one request at a time, whoever asks. */
  renew(): Promise<void> {
    if (this.#failure && now() < this.#blockedUntil) return Promise.reject(this.#failure);
    const { state } = this;
    const era = this.#era;
    this.#renewing ??= this.alone(() => this.#refresh(state, era)).finally(() => {
      this.#renewing = undefined;
      this.#plan();
    });
    return this.#renewing;
  }

  /** Requests that write the cookie go one after another: in this tab always, among tabs where there are Web Locks. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => withLock(this.#name, work));
    this.#queue = result.catch(ignore);
    return result;
  }

  enter(path: string, body: object): Promise<User | null> {
    return this.alone(async () => {
      const since = now();
      return this.adopt(await call<Partial<Tokens>>(this.#base + path, 'POST', body), since);
    });
  }

  /** Takes the session of an answer for that of this browser, and yields its user; null where the answer has none. */
  adopt(tokens: Partial<Tokens>, since: number): User | null {
    if (!tokens.access_token || !tokens.user) return null;
    this.settle(toState(tokens as Tokens, tokens.user, since));
    return tokens.user;
  }

  leave(scope: string): Promise<void> {
    return this.alone(async () => {
      await call(`${this.#base}/auth/logout?scope=${scope}`, 'POST', undefined, withBearer(this.state.token)).catch((error: unknown) => {
        if (!(error instanceof KeyturnError && error.code === 'token_missing')) throw error;
      });
      if (scope !== 'others') this.settle(null);
    });
  }

  describe(user: User): User {
    if (user.id === this.state.user?.id) this.settle({ ...this.state, user });
    return user;
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    if (this.state.user !== undefined) this.#notify(listener, this.state.user);
    return () => void this.#listeners.delete(listener);
  }

  /** Takes a state for true, and tells the other tabs. */
  settle(next: State | null): void {
    const { sid } = this.state;
    this.#become(next);
    const { user, token, since, life } = this.state;
    if (user) this.#channel?.postMessage({ sid: this.state.sid, user, token, life, age: now() - since });
    else if (sid) this.#channel?.postMessage({ sid });
  }

  close(): void {
    this.#end.abort();
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#channel = undefined;
    this.#listeners.clear();
  }

  #isUsable(): boolean {
    return this.remaining() > this.state.life / 20;
  }

  async #refresh(seen: State, era: number): Promise<void> {
    const { state } = this;
    const happenedMeanwhile = this.#era !== era || (state.token !== seen.token && this.#isUsable());
    if (this.#end.signal.aborted || (happenedMeanwhile && state.user !== undefined)) return;
    const asked = this.#era;
    const next = await this.#ask(state.user).catch((error: unknown) => error as KeyturnError);
    if (this.#era !== asked) return this.#refresh(state, asked);
    const failed = next instanceof Error;
    const ended = failed && next.status === 401 && /^(refresh_token_|session_ended)/.test(next.code);
    if (failed && !ended) {
      this.#fail(next);
      throw next;
    }
    this.settle(failed ? null : next);
  }

  async #ask(known: State['user']): Promise<State> {
    const since = now();
    const tokens = await call<Tokens>(`${this.#base}/auth/refresh`, 'POST');
    const same = known && known.id === claimsOf(tokens).sub;
    return toState(tokens, same ? known : await call<User>(`${this.#base}/users/me`, 'GET', undefined, withBearer(tokens.access_token)), since);
  }

  #fail(error: KeyturnError): void {
    this.#failure = error;
    this.#failures += 1;
    this.#blockedUntil = now() + (error.retryAfter ?? 0) * 1000;
    const pause = Math.min(MAX_PAUSE_MS, 500 * 2 ** this.#failures) * (0.5 + Math.random() / 2);
    this.#due = Math.max(this.#blockedUntil, now() + pause);
  }

  #become(next: State | null): void {
    const before = this.state;
    this.state = next ?? { user: null, ...NOWHERE };
    const { user, sid, since, life } = this.state;
    if (!sid || sid !== before.sid) this.#era += 1;
    this.#past.add(before.sid);
    this.#past.delete(sid);
    this.#failures = 0;
    this.#failure = undefined;
    this.#due = since + life * 0.8;
    mark(this.#name, sid);
    this.#plan();
    if (JSON.stringify(user) === JSON.stringify(before.user)) return;
    for (const listener of this.#listeners) this.#notify(listener, user as User | null);
  }

  #notify(listener: Listener, user: User | null): void {
    void Promise.resolve().then(() => this.#listeners.has(listener) && listener(user));
  }

  #hear({ sid, user, token, life = 0, age = 0 }: News): void {
    if (this.#end.signal.aborted || this.#past.has(sid)) return;
    if (user && token) return this.#become({ user, token, sid, life, since: now() - age });
    this.#past.add(sid);
    if (sid === this.state.sid) this.#become(null);
    else if (this.state.user) this.#check();
    else this.#era += 1;
  }

  #join(): BroadcastChannel | undefined {
    try {
      const channel = new BroadcastChannel(this.#name);
      channel.onmessage = ({ data }) => this.#hear(data as News);
      return channel;
    } catch {
      page.addEventListener?.('storage', ({ key, newValue }) => {
        if (key === this.#name && (newValue ?? '') !== this.state.sid) this.#check();
      }, { signal: this.#end.signal });
      return undefined;
    }
  }

  #check(): void {
    void this.renew().catch(ignore);
  }

  #wake(): void {
    if (this.#failures > 0) this.#due = this.#blockedUntil;
    this.#plan();
  }

  /** The next refresh: ahead of expiry while somebody looks, or again after a failure. */
  #plan(): void {
    clearTimeout(this.#timer);
    const { user } = this.state;
    if (this.#end.signal.aborted || this.#renewing || user === null || (user && page.document?.hidden)) return;
    const wait = this.#due - now();
    if (wait > 0) this.#timer = setTimeout(() => this.#plan(), wait);
    else this.#check();
  }
}

async function call<T>(url: string, method: string, body?: object, send: (url: string, init: RequestInit) => Promise<Response> = fetch): Promise<T> {
  const answer = await send(url, {
    method, credentials: 'include', keepalive: true, signal: AbortSignal.timeout(TIME_LIMIT_MS),
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  }).catch((error: unknown) => {
    throw error instanceof KeyturnError ? error : new KeyturnError(0, 'network', 'The server cannot be reached');
  });
  const json = (await answer.json().catch(ignore)) as { code?: string; detail?: string } | undefined;
  if (answer.ok && (json || answer.status === 204)) return json as T;
  const { code = 'unexpected_answer', detail = `The server’s answer (${answer.status}) cannot be read`, ...more } = json ?? {};
  const retryAfter = Math.min(Number(answer.headers.get('retry-after')), MAX_RETRY_AFTER_S) || undefined;
  throw new KeyturnError(answer.status, code, detail, { ...more, retryAfter });
}

function withBearer(token: string) {
  return (url: string, init: RequestInit) => fetch(url, { ...init, ...(token && { headers: { authorization: `Bearer ${token}` } }) });
}

/** Of the 401s of a request with a token, the one that no other token would mend. */
async function isAboutPassword(answer: Response): Promise<boolean> {
  if (!answer.headers.get('content-type')?.includes('problem+json')) return false;
  const { code } = (await answer.clone().json().catch(() => ({}))) as { code?: string };
  return code === 'invalid_credentials';
}

function toState(tokens: Tokens, user: User, since: number): State {
  return { user, token: tokens.access_token, sid: claimsOf(tokens).sid, since, life: tokens.expires_in * 1000 };
}

function claimsOf({ access_token: token }: Tokens): { sub: string; sid: string } {
  try {
    return JSON.parse(atob((token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/'))) as { sub: string; sid: string };
  } catch {
    throw new KeyturnError(200, 'unexpected_answer', 'The server’s answer has no access token');
  }
}

/** An optimisation: where there are no locks, or one is not let go of, the work is done without. */
async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const lock = { granted: false };
  const begin = () => {
    lock.granted = true;
    return work();
  };
  try {
    return await navigator.locks.request(name, { signal: AbortSignal.timeout(LOCK_LIMIT_MS) }, begin);
  } catch (error) {
    if (lock.granted) throw error;
    return work();
  }
}

/** A sign for other tabs and for the next page that this browser is signed in: the session's public id. */
function mark(name: string, sid: string): void {
  try {
    if (sid) localStorage.setItem(name, sid);
    else localStorage.removeItem(name);
  } catch {
    // storage is disabled, and not needed
  }
}

function isMarked(name: string): boolean {
  try {
    return localStorage.getItem(name) !== null;
  } catch {
    return true;
  }
}
