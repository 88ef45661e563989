import { domainToASCII } from 'node:url';
import { createTransport, type NodemailerError } from 'nodemailer';
import type { Config } from '../config.ts';
import type { Letter } from '../core/letters.ts';
import { SENT_AT_ONCE, type Sent } from '../core/postman.ts';

type SmtpServer = NonNullable<Config['mail']['smtp']>;
type Sender = Config['mail']['from'];

/**
 * Hands letters to a mail server. Every wait has an end, and a whole letter ends within six time-outs, also where the
 * server trickles. Without the TLS that is asked for nothing is sent; a certificate is not checked only where TLS is
 * not asked for, on this machine (ASVS 12.3.1, 12.3.2). Addresses go in as objects, never as text to be parsed.
 */
export function openSmtp(server: SmtpServer, from: Sender) {
  const { host, port, secure, requireTls, ca, username, password, timeoutMs } = server;
  const transport = createTransport({
    host, port, secure, requireTLS: requireTls,
    tls: { minVersion: 'TLSv1.2', rejectUnauthorized: secure || requireTls, ...(ca && { ca }) },
    ...(username && { auth: { user: username, pass: password } }),
    pool: true, maxConnections: SENT_AT_ONCE, idleTimeout: timeoutMs,
    maxRequeues: 0, // retries are the outbox's
    connectionTimeout: timeoutMs, greetingTimeout: timeoutMs, dnsTimeout: timeoutMs, socketTimeout: 3 * timeoutMs, socketCloseTimeout: 1000,
    disableFileAccess: true, disableUrlAccess: true,
  });

  async function send({ id, to, subject, text, html }: Letter): Promise<Sent> {
    try {
      await transport.sendMail({
        from, to: { name: '', address: to }, envelope: { from: from.address, to: [to] },
        subject, text, html,
        messageId: `<${id}@${domainOf(from.address)}>`,
        headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
        signal: AbortSignal.timeout(6 * timeoutMs),
      });
      return { outcome: 'sent' };
    } catch (error) {
      return describeFailure(error as NodemailerError);
    }
  }

  return {
    send,
    /** Closes idle connections; with `force` those that are in use, too. */
    close: (options?: { force: boolean }) => transport.close(options),
  };
}

function domainOf(address: string): string {
  return domainToASCII(address.slice(address.lastIndexOf('@') + 1)) || 'localhost';
}

/** Of 5xx to RCPT, a policy's (5.7.x: relaying denied, blocked sender) is not about the address (RFC 3463). */
function describeFailure({ code = 'ERROR', responseCode = 0, response = '', command, message }: NodemailerError): Sent {
  const refusedForGood = command === 'RCPT TO' && responseCode >= 500 && !/^\d{3}[ -]5\.7\./.test(response);
  return { outcome: 'failed', code: responseCode ? `${code} ${responseCode}` : code, reason: message, refusedForGood };
}
