import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';

/** Another process that takes SQLite's write lock, and holds it until it is told to let go. */
export async function holdLock(path: string, begin: 'BEGIN IMMEDIATE' | 'BEGIN EXCLUSIVE') {
  const program = `const db = new (require('better-sqlite3'))(process.argv[1]); db.exec(process.argv[2]); console.log('held');
    process.stdin.once('data', () => { db.exec('COMMIT'); process.exit(); });`;
  const child = spawn(process.execPath, ['-e', program, path, begin], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return async () => {
    child.stdin.write('let go');
    await once(child, 'exit');
  };
}
