import { createHash } from 'node:crypto';
import type { FastifyReply } from 'fastify';
import { escapeHtml } from '../core/letters.ts';

/** Legible without a picture, a font or a script of anyone's; what is pressed is large enough for a thumb (WCAG 2.2, 2.5.8). */
const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --faint: #5b6169; --paper: #fff; --ground: #f2f4f7; --edge: #7d858f; --accent: #0b5cad; --on-accent: #fff; --fault: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eceef1; --faint: #a9b0b9; --paper: #1d2126; --ground: #121519; --edge: #767f8a; --accent: #8cc2ff; --on-accent: #0b1a2b; --fault: #ffb4ab; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 26rem; padding: 1.75rem; background: var(--paper); border-radius: 0.75rem; box-shadow: 0 1px 3px #0003; overflow-wrap: anywhere; }
h1 { margin: 0 0 0.75rem; font-size: 1.375rem; line-height: 1.25; }
p { margin: 0 0 1rem; }
label { display: block; margin-bottom: 0.25rem; font-weight: 600; }
input { width: 100%; min-height: 2.75rem; margin-bottom: 0.25rem; padding: 0.5rem 0.75rem; border: 1px solid var(--edge); border-radius: 0.5rem; background: var(--paper); color: inherit; font: inherit; }
input[readonly] { margin-bottom: 1rem; border-color: transparent; background: var(--ground); }
input[aria-invalid] { border: 2px solid var(--fault); }
button { width: 100%; min-height: 2.75rem; margin-top: 0.5rem; padding: 0.5rem 1rem; border: 0; border-radius: 0.5rem; background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600; cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
form + .hint { margin: 1rem 0 0; }
.hint { color: var(--faint); font-size: 0.875rem; }
.fault { color: var(--fault); font-weight: 600; }
button.other { border: 1px solid var(--edge); background: none; color: inherit; }
`;

/**
 * Reads the token out of the page's own fragment, takes it out of the address and of the browser's history, and sends it
 * in the page's form. Sending it changes nothing: the answer is the form that does.
 */
const LINK_SCRIPT = `
function open() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return;
  history.replaceState(null, '', location.pathname);
  const form = document.forms[0];
  form.elements.token.value = token;
  form.submit();
  form.reset();
}
addEventListener('hashchange', open);
open();
`;

const hashOf = (source: string) => `'sha256-${createHash('sha256').update(source).digest('base64')}'`;

/** A page loads nothing, runs nothing, is in no frame, and sends its form to this server only (ASVS 3.4.3, 3.4.6). */
const PAGE_POLICY = `default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; style-src ${hashOf(STYLE)}`;
/** The page that reads the link runs that one script, which may not turn text into markup or code. */
const LINK_POLICY = `${PAGE_POLICY}; script-src ${hashOf(LINK_SCRIPT)}; require-trusted-types-for 'script'; trusted-types 'none'`;

/** Markup that is safe to put into a page. */
export class Html {
  readonly markup: string;
  constructor(markup: string) {
    this.markup = markup;
  }
}

/** Markup around values: a value is text, whatever it looks like, unless it is markup itself (ASVS 1.2.1). */
export function html(parts: TemplateStringsArray, ...values: (string | Html)[]): Html {
  const escaped = values.map((value) => (value instanceof Html ? value.markup : escapeHtml(value)));
  return new Html(parts.map((part, index) => part + (escaped[index] ?? '')).join(''));
}

/**
 * Sends a whole page. The title is what a screen reader says first: `fault` goes before it. Under `no-referrer` a browser
 * would call the origin of the page's form `null`; `same-origin` lets it say the origin to this server, and nothing to others.
 */
export function show(reply: FastifyReply, title: string, body: Html, { fault = false, readsLink = false } = {}) {
  return reply.type('text/html; charset=utf-8')
    .headers({ 'content-security-policy': readsLink ? LINK_POLICY : PAGE_POLICY, 'referrer-policy': 'same-origin' })
    .send(page(title, readsLink ? html`${body}\n<script>${new Html(LINK_SCRIPT)}</script>` : body, fault));
}

function page(title: string, body: Html, fault: boolean): string {
  const head = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${fault ? 'Error: ' : ''}${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
${body}
</main>
</body>
</html>
`;
  return head.markup;
}
