/** E-mail addresses are compared without case. */
export function normalizeEmail(email: string): string {
  return email.toLowerCase();
}

/** Usernames are ASCII letters, digits and `_`, compared without case. */
export function usernameKey(username: string): string {
  return username.toLowerCase();
}
