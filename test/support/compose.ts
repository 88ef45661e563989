import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

export type Service = {
  image: string;
  profiles?: string[];
  ports?: string[];
  volumes?: string[];
  networks?: string[];
  configs?: { source: string; target: string }[];
  environment?: Record<string, string | number>;
  env_file?: { path: string; required: boolean }[];
  command?: string[];
  healthcheck?: { test: string[] };
  depends_on?: Record<string, { condition: string }>;
  [option: string]: unknown;
};
export type Compose = {
  services: Record<string, Service>;
  configs: Record<string, { content: string }>;
  networks: Record<string, { internal?: boolean; ipam?: { config: { subnet: string }[] } } | null>;
  volumes: Record<string, null>;
};

/** docker-compose.yml as Compose reads it: merged, with the variables of `.env` filled in, and `$$` for a dollar. */
export function readCompose(env: Record<string, string> = {}): Compose {
  const fill = (value: unknown): unknown => {
    if (typeof value === 'string') return value.replace(/\$(?:\$|\{(\w+):-([^}]*)\})/g, (_all, name?: string, fallback?: string) => (name === undefined ? '$' : env[name] || fallback || ''));
    if (Array.isArray(value)) return value.map(fill);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, fill(each)]));
  };
  return fill(parse(readFileSync(join(import.meta.dirname, '../../docker-compose.yml'), 'utf8'), { merge: true })) as Compose;
}

/** Runs the command of the service `secrets` on a folder, as its container does on its volumes. */
export function makeSecrets(folder: string) {
  for (const name of ['api', 'postgres', 'redis']) mkdirSync(join(folder, name), { recursive: true });
  const [program, option = '', script = ''] = readCompose().services.secrets?.command ?? [];
  if (program !== 'node') throw new Error('the service secrets does not run node');
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  const owner = uid === 0 ? '1000, 1000' : `${uid}, ${gid}`; // only root can give files away
  execFileSync(process.execPath, [option, script.replaceAll("'/secrets/'", JSON.stringify(`${folder}/`)).replace('1000, 1000', owner)]);
}
