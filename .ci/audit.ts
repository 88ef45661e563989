/**
 * Reads what `npm audit --json` says on standard input, and ends with 1 when a package that is shipped has an advisory
 * (ASVS 15.2.1). An advisory about a tool of development is printed, and no failure. A registry that answers no audits is
 * said aloud, and no failure either: the packages were not checked.
 */
import { readFileSync } from 'node:fs';

type Advisory = { title: string; url: string };
type Vulnerability = { name: string; severity: string; range: string; via: (Advisory | string)[]; nodes: string[] };
type Report = { vulnerabilities?: Record<string, Vulnerability>; message?: string; error?: { summary?: string } };
type Lock = { packages: Record<string, { dev?: true; devOptional?: true }> };

/** A development dependency of which the image holds a file; see Dockerfile. */
const SHIPPED = ['node_modules/redoc'];

const { packages } = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8')) as Lock;
const isShipped = (path: string) => SHIPPED.includes(path) || !(packages[path]?.dev ?? packages[path]?.devOptional ?? false);

function readReport(): Report {
  const text = readFileSync(0, 'utf8');
  try {
    return JSON.parse(text) as Report;
  } catch {
    return { message: `it said: ${text.trim().split('\n')[0] ?? ''}` };
  }
}

const { vulnerabilities, message, error } = readReport();
if (vulnerabilities === undefined) {
  console.log(`NOT CHECKED: the registry answers no audits here (${message ?? error?.summary ?? 'no reason given'})`);
} else {
  for (const { name, severity, range, via, nodes } of Object.values(vulnerabilities)) {
    const shipped = nodes.some(isShipped);
    if (shipped) process.exitCode = 1;
    const reasons = via.map((each) => (typeof each === 'string' ? `by way of ${each}` : `${each.title} (${each.url})`));
    console.log(`${shipped ? 'SHIPPED' : 'development only'}: ${severity}: ${name} ${range}: ${reasons.join('; ')}`);
  }
  console.log(`${Object.keys(vulnerabilities).length} packages with advisories`);
}
