/**
 * Where the log goes: the lines of one turn of the event loop go out in one write, at its end. A crash or an exit loses
 * none of them, only a SIGKILL in that very turn.
 */
export function writeByTurn(output: { write(text: string): unknown }): { write(line: string): void } {
  let lines = '';
  const flush = () => {
    const text = lines;
    lines = '';
    if (text !== '') output.write(text);
  };
  process.once('exit', flush);
  return {
    write(line) {
      if (lines === '') setImmediate(flush);
      lines += line;
    },
  };
}
