// Replica sets whose members' clocks a test can move at any time, by libfaketime (Debian's package `faketime`). Only the time of day
// moves; the monotonic clock does not. Where the library is not installed, the tests that need it are skipped; .ci/faketime installs it.
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mongo } from 'mongoose';
import { atEnd } from './cleanup.js';
import { type Member, type ReplicaSet, type ReplicaSetOptions, startReplicaSet } from './mongodb.js';
import { until } from './until.js';

/** Where distributions of Linux install it. */
const folders = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib'];

/** The library for programs with threads; undefined where there is none. */
export const libfaketime = folders
  .map((folder) => join(folder, 'faketime', 'libfaketimeMT.so.1'))
  .find((path) => existsSync(path));

export interface SetOfClocks extends ReplicaSet {
  /** Sets the clock of one member, or of all, to the right time plus so many seconds. Returns once its `hello` shows it. */
  setClock: (seconds: number, member?: Member) => Promise<void>;
}

/** As `startReplicaSet`. All clocks are right at first. @throws Error where libfaketime is not installed */
export async function startSetOfClocks(options: ReplicaSetOptions = {}): Promise<SetOfClocks> {
  if (libfaketime === undefined) throw new Error('libfaketime is not installed');
  const { members: count = 1 } = options;
  const library = libfaketime;
  const folder = await mkdtemp(join(tmpdir(), 'clocks-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const files = Array.from({ length: count }, (_, index) => join(folder, `member-${index}`));
  await Promise.all(files.map((file) => writeOffset(file, 0)));

  const set = await startReplicaSet({
    ...options,
    environmentOf: (member) => ({
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: files[member]!,
      FAKETIME_NO_CACHE: '1',
      DONT_FAKE_MONOTONIC: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    }),
  });
  const setOne = async (seconds: number, member: Member): Promise<void> => {
    await writeOffset(files[set.members.indexOf(member)]!, seconds);
    if (member.isRunning) await untilItShows(member, seconds);
  };
  return {
    ...set,
    setClock: async (seconds, member) => {
      await Promise.all((member ? [member] : set.members).map((each) => setOne(seconds, each)));
    },
  };
}

/** Replaced at once: mongod reads the file whenever it asks for the time. */
async function writeOffset(file: string, seconds: number): Promise<void> {
  await writeFile(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds}s\n`);
  await rename(`${file}.new`, file);
}

async function untilItShows({ host }: Member, seconds: number): Promise<void> {
  const client = new mongo.MongoClient(`mongodb://${host}/`, {
    directConnection: true,
    appName: 'test-support',
  });
  try {
    await until(
      async () => {
        const { localTime } = await client.db('admin').command({ hello: 1 });
        return Math.abs((localTime as Date).getTime() - Date.now() - seconds * 1_000) < 500;
      },
      { what: `the clock of ${host} to be ${seconds} s off` },
    );
  } finally {
    await client.close();
  }
}
