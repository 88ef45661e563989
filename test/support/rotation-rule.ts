export type Outcome = 'rotated' | 'repeated' | 'reused' | 'ended';

/**
 * The rule of the rotation, written a second time and without a database, so that tests can compare the server with it.
 * Tokens are numbers: 0 is the token of the sign-in. Times are milliseconds.
 */
export class RotationRule {
  readonly graceMs: number;
  ended = false;
  /** When each token was superseded; the current token is the one that is missing. */
  readonly supersededAt: number[] = [];
  #windows: { startedAt: number; generation: number }[];
  #rotatedAt: number;

  constructor(graceMs: number, now: number) {
    this.graceMs = graceMs;
    this.#rotatedAt = now;
    this.#windows = [{ startedAt: now, generation: 0 }];
  }

  get current(): number {
    return this.supersededAt.length;
  }

  /** The columns of the session's row. */
  get row() {
    const window = this.#windows.at(-1)!;
    return {
      generation: this.current, rotatedAt: this.#rotatedAt, windowStartedAt: window.startedAt,
      windowGeneration: window.generation, previousGeneration: this.#windows.slice(-2)[0]!.generation,
    };
  }

  /** What a token is answered with; what that does to the session is done. */
  present(token: number, now: number): Outcome {
    if (this.ended) return 'ended';
    if (token === this.current) return this.#rotate(now);
    if (this.isExcused(token, now)) return 'repeated';
    this.ended = true;
    return 'reused';
  }

  /** A superseded token is excused if it is of the last two windows, and the last rotation is at most a grace ago. */
  isExcused(token: number, now: number): boolean {
    return this.graceMs > 0 && !this.#isLongAgo(this.#rotatedAt, now) && token >= this.row.previousGeneration;
  }

  #rotate(now: number): 'rotated' {
    const window = { startedAt: now, generation: this.current };
    if (this.#isLongAgo(this.#rotatedAt, now)) this.#windows = [window];
    else if (this.#isLongAgo(this.#windows.at(-1)!.startedAt, now)) this.#windows.push(window);
    this.supersededAt.push(now);
    this.#rotatedAt = now;
    return 'rotated';
  }

  #isLongAgo(then: number, now: number): boolean {
    return Math.abs(now - then) > this.graceMs;
  }
}
