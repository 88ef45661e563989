/** The spellings in which a secret could lie about: as it is, percent-encoded, in hex, in both base64s, and as the bytes it encodes. */
export function spellings(secret: string): Buffer[] {
  const bytes = Buffer.from(secret);
  const texts = [secret, encodeURIComponent(secret), bytes.toString('hex'), bytes.toString('base64').replace(/=+$/, '').slice(0, -1)];
  const decoded = Buffer.from(secret, 'base64url');
  return [...texts.map((text) => Buffer.from(text)), ...(decoded.length >= 24 ? [decoded, Buffer.from(decoded.toString('hex'))] : [])];
}
