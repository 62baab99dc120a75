// The help of the command line, of every command, 80 columns wide whatever the terminal is.
import { PassThrough, Readable } from 'node:stream';
import { runCommandLine, type Terminal } from './sources.js';

/** Each command's help below its name, subcommands right after their command. */
export async function allHelp(): Promise<string> {
  const isTerminal = Object.getOwnPropertyDescriptor(process.stdout, 'isTTY');
  // commander takes the width of the terminal, and 80 where there is none.
  Object.defineProperty(process.stdout, 'isTTY', { value: false, configurable: true });
  try {
    return (await helpBelow([])).join('\n\n');
  } finally {
    if (isTerminal) Object.defineProperty(process.stdout, 'isTTY', isTerminal);
    else Reflect.deleteProperty(process.stdout, 'isTTY');
  }
}

async function helpBelow(path: readonly string[]): Promise<readonly string[]> {
  const help = await helpOf(path);
  const below: string[] = [];
  for (const name of commandsIn(help)) below.push(...(await helpBelow([...path, name])));
  return [`=== ${['stripe-mongo-sync', ...path, '--help'].join(' ')}\n\n${help}`, ...below];
}

async function helpOf(path: readonly string[]): Promise<string> {
  const lines: string[] = [];
  const terminal: Terminal = {
    stdin: Readable.from([]),
    stderr: Object.assign(new PassThrough(), { isTTY: false }) as unknown as NodeJS.WriteStream, // no more of it is used
    screen: undefined,
    makeWay: () => () => undefined,
    result: (text) => void lines.push(text),
    note: (text) => {
      throw new Error(`The help of ${path.join(' ')} was refused: ${text}`);
    },
  };
  await runCommandLine([...path, '--help'], terminal);
  return lines.join('\n');
}

/** Names in the list of commands; what follows of a description is indented further. */
function commandsIn(help: string): readonly string[] {
  const list = /^Commands:\n((?: .*\n?)+)/m.exec(help)?.[1] ?? '';
  return Array.from(list.matchAll(/^ {2}([\w-]+)/gm), ([, name]) => name ?? '');
}
