import { problems } from '../problems.ts';
import { Html, html } from './pages.ts';

const MAX_FIELDS = 10;

export type Link = { token: string; email: string };

/** What a page begins with: its script sends the form by itself, and whoever has none pastes the link. */
export const linkForm = html`<noscript><p>This page reads your link by a script, and your browser runs none.</p></noscript>
<p>Copy the whole link from the mail, and paste it here.</p>
<form method="post" action="?">
<label for="token">Link from the mail</label>
<input id="token" name="token" type="text" autocomplete="off" autocapitalize="none" spellcheck="false" required>
<button>Continue</button>
</form>`;

/** It is sent to the page's own address, wherever a proxy puts that. */
function formStart({ token }: Pick<Link, 'token'>): Html {
  return html`<form method="post" action="?">
<input type="hidden" name="token" value="${token}">`;
}

/** Tells password managers whose password it is. */
function accountField(email: string): Html {
  return html`<label for="account">Account</label>
<input id="account" type="email" value="${email}" autocomplete="username" readonly>`;
}

export function resetForm(link: Link, minLength: number, fault?: string): Html {
  const state = new Html(fault === undefined ? 'aria-describedby="rule"' : 'aria-invalid="true" aria-describedby="fault rule" autofocus');
  return html`${formStart(link)}
${accountField(link.email)}
<label for="new-password">New password</label>
${fault === undefined ? '' : html`<p class="fault" id="fault" role="alert">The new password ${fault}.</p>`}
<input id="new-password" name="new_password" type="password" autocomplete="new-password" required minlength="${String(minLength)}" ${state}>
<p class="hint" id="rule">At least ${String(minLength)} characters. A few words that only you would put together do well. All your devices will be signed out.</p>
<button>Change password</button>
</form>`;
}

export function renewForm(link: Link): Html {
  return html`<p>A link works for a short time only. We can send a new one to <strong>${link.email}</strong>.</p>
${formStart(link)}
<button name="answer" value="renew">Send a new link</button>
</form>`;
}

/** `proof`: the password is asked for, and why it was refused. `disownable`: the account may be deleted. */
export function verifyForm(link: Link, { proof, disownable }: { proof: { fault?: string } | null; disownable: boolean }): Html {
  return html`<p>Is <strong>${link.email}</strong> the address of your account?</p>
${formStart(link)}
${proof === null ? '' : passwordField(link, proof.fault)}
<button name="answer" value="confirm">Yes, verify it</button>
${disownable ? html`<button class="other" name="answer" value="not_me" formnovalidate>This was not me: delete the account</button>` : ''}
</form>
${disownable ? '' : html`<p class="hint">If you did not ask for this, close the page: nothing changes.</p>`}`;
}

function passwordField({ email }: Link, fault?: string): Html {
  const state = new Html(fault === undefined ? 'aria-describedby="why"' : 'aria-invalid="true" aria-describedby="fault why" autofocus');
  return html`${accountField(email)}
<label for="password">The password that you chose</label>
${fault === undefined ? '' : html`<p class="fault" id="fault" role="alert">${fault}.</p>`}
<input id="password" name="password" type="password" autocomplete="current-password" required ${state}>
<p class="hint" id="why">This is not the browser in which the account was registered. If somebody else registered it, do not verify it.</p>`;
}

/** The token, whether it was sent alone or in the link that somebody pasted; null where there is none. */
export function readToken(text: string): string | null {
  return /^(?:\S*[#?&]token=)?([\w-]{43})$/.exec(text.trim())?.[1] ?? null;
}

/** As strict as the JSON parser: bytes that are not UTF-8 become no other password, and each field is there once. */
export function parseForm(body: Buffer): Record<string, string> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    const fields = text.split('&').filter(Boolean).map(parseField);
    if (fields.length > MAX_FIELDS || new Set(fields.map(([name]) => name)).size !== fields.length) throw problems.badRequest();
    return Object.fromEntries(fields);
  } catch {
    throw problems.badRequest();
  }
}

function parseField(field: string): [name: string, value: string] {
  const [name = '', ...rest] = field.split('=');
  const decode = (part: string) => decodeURIComponent(part.replaceAll('+', ' '));
  return [decode(name), decode(rest.join('='))];
}
