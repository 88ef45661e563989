import { LONGEST_MAIL_PAUSE_MS, type Mail } from '../store/mails.ts';
import type { Core } from './core.ts';
import { isEmail } from './identifiers.ts';
import { composeLetter, type Letter, type Templates } from './letters.ts';

/** For so long a claimed mail is nobody else's; sending one takes less. */
export const LEASE_MS = 5 * 60_000;
export const SENT_AT_ONCE = 5;
const FIRST_PAUSE_MS = 5_000;
/** A server may say for a while that an address does not exist, and be wrong. */
const TRIES_OF_A_REFUSED_ADDRESS = 5;

/** Why a mail was not taken; `refusedForGood` when it is the address that the mail server will not have. `reason` may quote the server. */
export type Failure = { outcome: 'failed'; code: string; reason: string; refusedForGood?: boolean };
export type Sent = { outcome: 'sent' } | Failure;

export type Delivery = { mail: Mail } & (
  | { outcome: 'sent' }
  | { outcome: 'failed'; code: string; reason: string; retryAt: number }
  | { outcome: 'given_up'; reason: 'expired' | 'address_refused' | 'address_invalid' }
);

type World = {
  templates: Templates;
  localUrl: () => string;
  /** Hands a letter over; is done within less than the lease, and never rejects. */
  send: (letter: Letter) => Promise<Sent>;
  report: (delivery: Delivery) => void;
  /** The database failed while a mail was in hand; the mail is tried again after the lease. */
  onError: (error: unknown) => void;
};

/**
 * Delivers the outbox: each mail at least once, however often the process or the mail server goes away, until it is
 * given up. The row is the state: claimed for a lease, deleted when the mail is taken, else due again after a pause that
 * doubles. A mail that arrives twice has the same id.
 */
export function createPostman(core: Core, world: World) {
  const inHand = new Set<Promise<void>>();
  let passes = Promise.resolve();
  let closed = false;

  async function pass() {
    while (!closed && (await core.store.mails.areDue(core.now()))) {
      if (inHand.size >= SENT_AT_ONCE) {
        await Promise.race(inHand);
        continue;
      }
      const now = core.now();
      const mails = await core.store.mails.claim({ now, leaseUntil: now + LEASE_MS, limit: SENT_AT_ONCE - inHand.size });
      if (mails.length === 0) return; // another copy of the server was quicker
      for (const mail of mails) takeInHand(mail);
    }
  }

  function takeInHand(mail: Mail) {
    const work = deliverMail(core, world, mail).catch(world.onError).finally(() => inHand.delete(work));
    inHand.add(work);
  }

  /** Takes in hand what is due. Of several calls each begins after the one before has ended. */
  function begin(): Promise<void> {
    const next = passes.then(pass);
    passes = next.catch(() => undefined);
    return next;
  }

  return {
    begin,
    /** Resolves when nothing is due and nothing in hand. */
    deliver: async () => {
      await begin();
      await Promise.all(inHand);
    },
    /** Takes nothing more in hand; resolves when nothing is. */
    close: async () => {
      closed = true;
      await passes;
      await Promise.all(inHand);
    },
  };
}

async function deliverMail(core: Core, world: World, mail: Mail): Promise<void> {
  const { store } = core;
  const remove = async () => { await store.mails.remove(mail.id); };
  const giveUp = async (reason: 'expired' | 'address_refused' | 'address_invalid') => {
    await remove();
    world.report({ mail, outcome: 'given_up', reason });
  };
  if (mail.template === 'decoy') return remove();
  if (core.now() >= mail.expiresAt) return giveUp('expired');
  if (!isEmail(mail.recipient)) return giveUp('address_invalid');
  const result = await send(core, world, mail);
  if (result.outcome === 'sent') {
    world.report({ mail, outcome: 'sent' });
    return remove();
  }
  if (result.refusedForGood && mail.attempts >= TRIES_OF_A_REFUSED_ADDRESS) return giveUp('address_refused');
  const retryAt = Math.min(core.now() + pauseAfter(mail.attempts), mail.expiresAt);
  world.report({ mail, outcome: 'failed', code: result.code, reason: result.reason, retryAt });
  await store.mails.postpone(mail.id, retryAt);
}

/** A key or a template that this copy of the server does not have may be known to another one, or after its next start. */
async function send(core: Core, { templates, localUrl, send }: World, mail: Mail): Promise<Sent> {
  const composed = composeLetter(core, templates, mail, localUrl);
  if (composed.outcome === 'unknown_template') return { outcome: 'failed', code: 'TEMPLATE', reason: 'there is no such template here' };
  if (composed.outcome === 'key_gone') return { outcome: 'failed', code: 'KEY', reason: 'the key of its link is no longer in SECRET_KEY' };
  const result = await send(composed.letter);
  return result.outcome === 'sent' ? result : { ...result, reason: maskReason(result.reason, composed.secrets) };
}

/** The pause doubles from about 5 seconds to an hour, with a third of it left to chance. */
function pauseAfter(attempts: number): number {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** (attempts - 1), LONGEST_MAIL_PAUSE_MS);
  return Math.round(pause * (1 - Math.random() / 3));
}

/** What a mail server says may quote the mail: no address, link or token of it reaches the log (ASVS 16.2.5). */
function maskReason(reason: string, secrets: string[]): string {
  const known = secrets.reduce((text, secret) => text.replaceAll(secret, '…'), reason);
  return known.replace(/\S*@\S*|https?:\S*|[\w+/=%-]{20,}/gi, '…').replace(/\s+/g, ' ').slice(0, 200);
}
