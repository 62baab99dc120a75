// Real MongoDB servers for tests and the demo, on 127.0.0.1 only: replica sets whose members can be killed, frozen and
// restarted, and a standalone server. What is started here also ends with the test that started it.
import { randomInt } from 'node:crypto';
import { MongoMemoryReplSet, MongoMemoryServer } from 'mongodb-memory-server';
import { mongo } from 'mongoose';
import { atEnd } from './cleanup.js';
import { freeze, thaw } from './freeze.js';
import { type MongodBinary, findMongod } from './mongod-binary.js';
import { until } from './until.js';

const replicaSetName = 'rs0';

/** Small and quiet: no files outside the data folder, no metrics kept, little memory. */
const modestArgs = [
  '--nounixsocket',
  '--wiredTigerCacheSizeGB=0.25',
  '--oplogSize=512',
  '--setParameter=diagnosticDataCollectionEnabled=false',
];

/** A process group of its own: Ctrl-C is for us alone. Should we be killed, mongodb-memory-server ends it within seconds. */
const spawnOptions = { detached: true };

/** A secondary that was reading from a member when it froze else goes on waiting for it, for up to 20 s. */
const failoverArgs = ['--setParameter=oplogNetworkTimeoutBufferSeconds=1'];

/**
 * Below those that the system gives to outgoing connections (32,768 and above on Linux), or one of these could take it while mongod starts,
 * or while it is down. mongodb-memory-server takes another where this one is used.
 */
const somePort = (): number => randomInt(10_000, 32_000);

export interface ServerOptions {
  /** Allows failpoints; true by default. */
  enableTestCommands?: boolean;
  /** Access control, with one user who may do everything. */
  auth?: { username: string; password: string };
  /** More arguments of mongod. */
  args?: string[];
}

/** More environment of a member, by its number from 0. */
type EnvironmentOf = (member: number) => Record<string, string>;

export interface ReplicaSetOptions extends ServerOptions {
  /** How many servers; 1 by default. */
  members?: number;
  /** Milliseconds without a word from the primary until the others elect a new one; 2,000 by default. */
  electionTimeoutMillis?: number;
  environmentOf?: EnvironmentOf;
}

/** One running (or killed) mongod. */
export class Member {
  readonly #server: MongoMemoryServer;

  constructor(server: MongoMemoryServer) {
    this.#server = server;
  }

  get port(): number {
    return this.#info.port;
  }

  /** `127.0.0.1:port`, as the replica set's configuration names it. */
  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Throws while it is not running; changes with a restart. */
  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) {
      throw new Error(`mongod at ${this.host} is not running`);
    }
    return pid;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Sends the signal, SIGKILL by default, and waits until the process has ended. A frozen one obeys only SIGKILL. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (child) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await ended;
    }
    await this.#server.stop({ doCleanup: false, force: false });
  }

  /** Stops the process where it stands: connections stay open, nothing answers. Returns once it does. */
  async freeze(): Promise<void> {
    await freeze(this.pid);
  }

  thaw(): void {
    thaw(this.pid);
  }

  /** Kills it if it runs, and starts it again on the same port and data. Returns once it takes connections. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#server.start(true);
  }

  get #info(): NonNullable<MongoMemoryServer['instanceInfo']> {
    const info = this.#server.instanceInfo;
    if (!info) {
      throw new Error('mongod was stopped for good');
    }
    return info;
  }

  get #process() {
    const child = this.#server.instanceInfo?.instance.mongodProcess;
    return child?.exitCode === null && child.signalCode === null ? child : undefined;
  }
}

export interface StandaloneServer {
  /** Without a database. */
  uri: string;
  /** With a database and further parameters. */
  uriFor: (database: string, parameters?: Record<string, string>) => string;
  member: Member;
  stop: () => Promise<void>;
}

export interface ReplicaSet {
  /** Without a database. */
  uri: string;
  /** With a database and further parameters. */
  uriFor: (database: string, parameters?: Record<string, string>) => string;
  members: Member[];
  /** Waits until a member that answers is a primary that takes writes; at most `timeoutMs`, 30,000 by default. */
  primary: (timeoutMs?: number) => Promise<Member>;
  stop: () => Promise<void>;
}

/** mongodb-memory-server starts all members of a set with the same options. */
class SetWithEnvironments extends MongoMemoryReplSet {
  constructor(
    private readonly environmentOf: EnvironmentOf,
    options: ConstructorParameters<typeof MongoMemoryReplSet>[0],
  ) {
    super(options);
  }

  protected override _initServer(
    ...options: Parameters<MongoMemoryReplSet['_initServer']>
  ): MongoMemoryServer {
    const server = super._initServer(...options);
    const env = { ...process.env, ...this.environmentOf(this.servers.length) };
    server.opts = { ...server.opts, spawn: { ...server.opts.spawn, env } };
    return server;
  }
}

/**
 * Starts a replica set; it takes writes and all members have caught up when this returns. About 1 s for one member, 3 s
 * for three, and once for each machine the time to fetch a mongod.
 */
export async function startReplicaSet(options: ReplicaSetOptions = {}): Promise<ReplicaSet> {
  const { members: count = 1, electionTimeoutMillis = 2_000, auth, environmentOf = () => ({}) } = options;
  const { path, version } = await mongodOfThisProcess();
  const set = new SetWithEnvironments(environmentOf, {
    binary: { systemBinary: path, version },
    instanceOpts: Array.from({ length: count }, () => ({ port: somePort(), launchTimeout: 60_000 })),
    replSet: {
      name: replicaSetName,
      count,
      ip: '127.0.0.1',
      storageEngine: 'wiredTiger',
      args: [...argsOf(options), ...(count > 1 ? failoverArgs : [])],
      spawn: spawnOptions,
      // The default heartbeat waits 10 s for a frozen member, and an election may wait for that.
      configSettings: { electionTimeoutMillis, heartbeatIntervalMillis: 500, heartbeatTimeoutSecs: 1 },
      ...(auth ? { auth: authOf(auth) } : {}),
    },
  });

  // Killed rather than shut down: faster, and a frozen one ends as well.
  const stop = once(async () => {
    await Promise.all(set.servers.map((server) => new Member(server).kill()));
    await set.stop({ doCleanup: true, force: false });
  });
  atEnd(stop);

  await set.start();
  const members = set.servers.map((server) => new Member(server));
  const uriFor = uriMaker(
    members.map((member) => member.host),
    { replicaSet: replicaSetName, ...(auth ? { authSource: 'admin' } : {}) },
    auth,
  );
  const replicaSet: ReplicaSet = {
    uri: uriFor(''),
    uriFor,
    members,
    primary: (timeoutMs) => findPrimary(members, timeoutMs),
    stop,
  };
  await untilCaughtUp(replicaSet.uri);
  return replicaSet;
}

/** Starts one server outside of any replica set: no transactions, no change streams. */
export async function startStandalone(options: ServerOptions = {}): Promise<StandaloneServer> {
  const { auth } = options;
  const { path, version } = await mongodOfThisProcess();
  const server = new MongoMemoryServer({
    binary: { systemBinary: path, version },
    instance: {
      port: somePort(),
      ip: '127.0.0.1',
      storageEngine: 'wiredTiger',
      args: argsOf(options),
      launchTimeout: 60_000,
    },
    spawn: spawnOptions,
    ...(auth ? { auth: authOf(auth) } : {}),
  });

  const member = new Member(server);
  const stop = once(async () => {
    await member.kill();
    await server.stop({ doCleanup: true, force: false });
  });
  atEnd(stop);

  await server.start();
  const uriFor = uriMaker([member.host], auth ? { authSource: 'admin' } : {}, auth);
  return { uri: uriFor(''), uriFor, member, stop };
}

let chosen: Promise<MongodBinary> | undefined;

/** Searched for once. Processes that we start, such as vitest's workers, find it in the environment. */
function mongodOfThisProcess(): Promise<MongodBinary> {
  chosen ??= findMongod().then((binary) => {
    // mongodb-memory-server prefers this variable to its option, even when the binary it names does not run.
    process.env['MONGOMS_SYSTEM_BINARY'] = binary.path;
    return binary;
  });
  return chosen;
}

function argsOf({ enableTestCommands = true, args = [] }: ServerOptions): string[] {
  // mongod takes an option once.
  const isGiven = (modest: string): boolean => args.some((arg) => nameOf(arg) === nameOf(modest));
  const modest = modestArgs.filter((arg) => nameOf(arg) === '--setParameter' || !isGiven(arg));
  return [...modest, ...(enableTestCommands ? ['--setParameter=enableTestCommands=1'] : []), ...args];
}

const nameOf = (arg: string): string => arg.split('=', 1)[0] ?? arg;

function authOf({ username, password }: { username: string; password: string }) {
  return { enable: true, customRootName: username, customRootPwd: password };
}

function uriMaker(
  hosts: string[],
  fixed: Record<string, string>,
  auth: ServerOptions['auth'],
): ReplicaSet['uriFor'] {
  const user = auth ? `${encodeURIComponent(auth.username)}:${encodeURIComponent(auth.password)}@` : '';
  return (database, parameters = {}) => {
    const query = new URLSearchParams({ ...fixed, ...parameters }).toString();
    return `mongodb://${user}${hosts.join(',')}/${database}${query === '' ? '' : `?${query}`}`;
  };
}

/** Asks each member itself, as a driver that waits for a primary would hide one that has frozen. */
async function findPrimary(members: Member[], timeoutMs = 30_000): Promise<Member> {
  const asPrimary = async (member: Member): Promise<Member> => {
    const client = new mongo.MongoClient(`mongodb://${member.host}/`, {
      directConnection: true,
      serverSelectionTimeoutMS: 1_000,
      socketTimeoutMS: 1_000,
    });
    try {
      const hello = await client.db('admin').command({ hello: 1 });
      if (hello['isWritablePrimary'] !== true) {
        throw new Error(`${member.host} is no primary`);
      }
      return member;
    } finally {
      await client.close();
    }
  };
  return until(() => Promise.any(members.filter((member) => member.isRunning).map(asPrimary)), {
    what: 'a primary',
    timeoutMs,
  });
}

/** Until every member is the primary or a secondary: a set that is still copying loses its majority with one member. */
async function untilCaughtUp(uri: string): Promise<void> {
  const client = new mongo.MongoClient(uri);
  try {
    await until(
      async () => {
        const status = await client.db('admin').command({ replSetGetStatus: 1 });
        const states = (status['members'] as { stateStr: string }[]).map((member) => member.stateStr);
        return states.every((state) => state === 'PRIMARY' || state === 'SECONDARY');
      },
      { what: 'all members of the replica set to catch up', timeoutMs: 60_000 },
    );
  } finally {
    await client.close();
  }
}

function once(action: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= action());
}
