import { createClient, KeyturnError, type Session, type User } from '/client.js';

const keyturn = createClient({ resume: 'marked' });

type Values = Record<string, string>;

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`there is no #${id}`);
  return found;
}

const part = (id: string) => element(id, HTMLElement);

const views = ['loading', 'sign-in', 'sign-up', 'forgot', 'home'] as const;
type View = (typeof views)[number];

/** Shows one view; after the first, the focus goes to its heading. */
function show(view: View): void {
  if (!part(`view-${view}`).hidden) return;
  const first = !part('view-loading').hidden;
  for (const each of views) part(`view-${each}`).hidden = each !== view;
  if (!first) part(`view-${view}`).querySelector('h1')?.focus();
  say('');
}

function say(text: string): void {
  part('status').textContent = text;
}

function detailOf(error: unknown): string {
  if (!(error instanceof KeyturnError)) return String(error);
  return error.retryAfter ? `${error.detail} (wait ${error.retryAfter} s)` : error.detail;
}

/** Runs what a button is for; it is disabled meanwhile, and what goes wrong is said in `problem`. */
async function run(button: HTMLButtonElement | null, problem: HTMLElement, work: () => Promise<void>): Promise<void> {
  problem.textContent = '';
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    problem.textContent = detailOf(error);
    if (error instanceof KeyturnError) markFields(problem.closest('form'), error);
  } finally {
    if (button) button.disabled = false;
  }
}

function markFields(form: HTMLFormElement | null, { errors }: KeyturnError): void {
  const wrong = errors.map(({ pointer }) => form?.elements.namedItem(pointer.slice(1))).filter((field) => field instanceof HTMLInputElement);
  for (const field of wrong) field.setAttribute('aria-invalid', 'true');
  wrong[0]?.focus();
}

function onSubmit(id: string, work: (values: Values) => Promise<void>): void {
  const form = element(id, HTMLFormElement);
  const problem = form.querySelector<HTMLElement>('.problem') as HTMLElement;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    for (const input of form.querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid');
    const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== '')) as Values;
    void run(event.submitter as HTMLButtonElement | null, problem, async () => {
      await work(values);
      form.reset();
    });
  });
}

function onClick(button: HTMLButtonElement, problem: string, work: () => Promise<void>): void {
  button.addEventListener('click', () => void run(button, part(problem), work));
}

onSubmit('sign-in', async ({ identifier = '', password = '' }) => {
  await keyturn.login({ ...(identifier.includes('@') ? { email: identifier } : { username: identifier }), password });
});

onSubmit('sign-up', async ({ email = '', username, password = '' }) => {
  const user = await keyturn.register({ email, ...(username && { username }), password });
  if (user) return;
  show('sign-in');
  say('Look into your mail: the link in it confirms your address.');
});

onSubmit('forgot', async ({ email = '' }) => {
  await keyturn.forgotPassword({ email });
  say('If there is an account of this address, a mail is on its way.');
});

onSubmit('password', async ({ old_password = '', new_password = '' }) => {
  await keyturn.changePassword({ old_password, new_password });
  await listSessions();
  say('The password is changed, and all other sessions have ended.');
});

onClick(element('renew', HTMLButtonElement), 'token-problem', async () => {
  await keyturn.refresh();
});

onClick(element('use', HTMLButtonElement), 'token-problem', async () => {
  const answer = await keyturn.fetch('/users/me');
  const shown = part('answer');
  shown.textContent = `${answer.status} ${answer.statusText}\n${JSON.stringify(await answer.json(), null, 2)}`;
  shown.hidden = false;
});

onClick(element('reload', HTMLButtonElement), 'sessions-problem', listSessions);

for (const button of document.querySelectorAll<HTMLButtonElement>('[data-scope]')) {
  const scope = button.dataset.scope as 'current' | 'others' | 'all';
  onClick(button, 'out-problem', async () => {
    await keyturn.logout({ scope });
    if (scope !== 'others') return;
    await listSessions();
    say('All other sessions have ended.');
  });
}

for (const button of document.querySelectorAll<HTMLButtonElement>('[data-view]')) button.addEventListener('click', () => show(button.dataset.view as View));

async function listSessions(): Promise<void> {
  const sessions = await keyturn.sessions();
  part('sessions').replaceChildren(...sessions.map(toItem));
}

function toItem(session: Session): Node {
  const item = element('session', HTMLTemplateElement).content.cloneNode(true) as DocumentFragment;
  const [device, detail] = item.querySelectorAll('span') as unknown as [HTMLElement, HTMLElement];
  const button = item.querySelector('button') as HTMLButtonElement;
  const name = deviceOf(session.device);
  const used = new Date(session.last_used_at).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  device.textContent = session.current ? `${name}, this browser` : name;
  detail.textContent = `${session.address}, last renewed ${used}`;
  button.setAttribute('aria-label', `End the session: ${device.textContent}`);
  onClick(button, 'sessions-problem', async () => {
    await keyturn.endSession(session.id);
    if (session.current) return;
    await listSessions();
    part('sessions-title').focus();
    say('The session has ended.');
  });
  return item;
}

function deviceOf(userAgent: string | null): string {
  const browser = /Firefox|Edg|Chrome|Safari|curl/.exec(userAgent ?? '')?.[0].replace('Edg', 'Edge');
  const system = /Windows|Android|iPhone|iPad|Mac OS|Linux/.exec(userAgent ?? '')?.[0];
  return [browser ?? userAgent?.split(' ')[0] ?? 'Unknown', system].filter(Boolean).join(' on ');
}

let life = 0;
let last = 0;

function tick(): void {
  const left = keyturn.expiresIn();
  if (left > last) life = left;
  last = left;
  const seconds = Math.ceil(left);
  part('left').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  element('life', HTMLProgressElement).value = life > 0 ? left / life : 0;
}

function welcome(user: User): void {
  part('who').textContent = user.username ?? user.email ?? user.id;
  (element('password', HTMLFormElement).elements.namedItem('username') as HTMLInputElement).value = user.email ?? user.username ?? '';
  show('home');
  tick();
  void run(null, part('sessions-problem'), listSessions);
}

function forget(): void {
  for (const id of ['who', 'answer', 'sessions']) part(id).replaceChildren();
  part('answer').hidden = true;
  for (const form of document.forms) form.reset();
}

setInterval(tick, 250);
keyturn.onChange((user) => {
  if (user) return welcome(user);
  const wasHome = !part('view-home').hidden;
  forget();
  if (!wasHome && part('view-loading').hidden) return;
  show('sign-in');
  if (wasHome) say('You are signed out.');
});
