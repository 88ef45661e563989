import { readFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';

export type Vector = { name: string; library: string; password: string; hash: string };

const PYTHON = '/usr/bin/python3';

/** Hashes that other systems' own libraries made; test/vectors/make.py wrote them. */
export const VECTORS = JSON.parse(readFileSync('test/vectors/hashes.json', 'utf8')) as Vector[];

/** The same, made now with salts of now; undefined where the libraries are missing. */
export function makeVectors(): Vector[] | undefined {
  const { status, stdout } = spawnSync(PYTHON, ['test/vectors/make.py'], { encoding: 'utf8' });
  return status === 0 ? (JSON.parse(stdout) as Vector[]) : undefined;
}

export function hasLibraries(): boolean {
  return spawnSync(PYTHON, ['-c', 'import argon2, bcrypt, django, passlib, werkzeug']).status === 0;
}
