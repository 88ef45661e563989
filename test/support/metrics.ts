import { freePort } from './postgres.ts';

/** What makes a server serve metrics, and looks at them. */
export async function openMetrics() {
  const port = await freePort();
  const ask = (path = '/metrics', init: RequestInit = {}) => fetch(`http://127.0.0.1:${port}${path}`, init);
  const read = async () => (await (await ask()).text()).split('\n');
  /** The value of the line that begins so; undefined if there is none. */
  const value = async (name: string) => {
    const line = (await read()).find((each) => each.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length + 1));
  };
  return { env: { METRICS_PORT: `${port}`, METRICS_HOST: '127.0.0.1' }, port, ask, read, value };
}
