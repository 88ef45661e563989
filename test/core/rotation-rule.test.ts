import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs, spans } from '../support/fast-check.ts';
import { RotationRule } from '../support/rotation-rule.ts';

const GRACE_MS = 30_000;

/** A session that rotates after each of these pauses; then some time passes. */
const histories = fc.tuple(fc.array(spans(GRACE_MS), { maxLength: 24 }), spans(GRACE_MS));

function afterRotations(pauses: number[]) {
  const rule = new RotationRule(GRACE_MS, 0);
  let now = 0;
  for (const pause of pauses) {
    now += pause;
    rule.present(rule.current, now);
  }
  return { rule, now };
}

describe('the rule of the rotation', () => {
  test('what was superseded within the grace is always excused; more than four graces ago, never', () => {
    fc.assert(fc.property(histories, ([pauses, pause]) => {
      const { rule, now } = afterRotations(pauses);
      return rule.supersededAt.every((supersededAt, token) => {
        const age = now + pause - supersededAt;
        return rule.isExcused(token, now + pause) ? age <= 4 * GRACE_MS : age > GRACE_MS;
      });
    }), runs(200_000));
  });

  test('four graces is the exact limit in a busy session: no millisecond later', () => {
    const { rule, now } = afterRotations([GRACE_MS + 1, GRACE_MS, GRACE_MS, GRACE_MS]);
    expect(now - rule.supersededAt[0]!).toBe(3 * GRACE_MS);
    expect(rule.isExcused(0, now + GRACE_MS)).toBe(true);
    expect(rule.isExcused(0, now + GRACE_MS + 1)).toBe(false);
  });

  test('in a quiet session the limit is the grace itself', () => {
    const { rule, now } = afterRotations([GRACE_MS + 1]);
    expect(rule.isExcused(0, now + GRACE_MS)).toBe(true);
    expect(rule.isExcused(0, now + GRACE_MS + 1)).toBe(false);
  });
});
