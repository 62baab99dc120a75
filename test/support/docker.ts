// Containers of the image under test, by the docker command line. They end with the test; what a killed run has left, .ci/image removes
// by its label.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';
import { atEnd } from './cleanup.js';
import { until } from './until.js';

/** What the command wrote to each stream. */
export interface Output {
  stdout: string;
  stderr: string;
}

export interface ContainerOptions {
  /** Options of `docker create`. */
  options?: string[];
  /** The environment besides the image's. */
  env?: Record<string, string>;
  /** The command, instead of the image's. */
  command?: string[];
}

export interface Container {
  state: () => Promise<ContainerState>;
  logs: () => Promise<Output>;
  /** What a command in it writes to stdout. */
  execute: (...command: string[]) => Promise<string>;
  signal: (name: string) => Promise<void>;
  /** Resolves when Docker's own health status is this one. Throws, with what it said, when it ends instead. */
  health: (status: 'healthy' | 'unhealthy', timeoutMs?: number) => Promise<void>;
  /** How it ended, once it has. */
  ended: () => Promise<ContainerState>;
  /** `docker stop`: SIGTERM, and SIGKILL after 60 s. */
  stop: () => Promise<{ code: number; afterMs: number }>;
}

const stateSchema = z.object({
  Running: z.boolean(),
  OOMKilled: z.boolean(),
  ExitCode: z.number(),
  Health: z
    .object({
      Status: z.string(),
      /** The last few checks that have ended. */
      Log: z.array(z.object({ Start: z.string(), ExitCode: z.number(), Output: z.string() })).nullable(),
    })
    .optional(),
});
type ContainerState = z.output<typeof stateSchema>;

const imageSchema = z.object({
  Size: z.number(),
  Config: z.object({
    User: z.string(),
    StopSignal: z.string(),
    Env: z.array(z.string()),
    Entrypoint: z.array(z.string()),
    Cmd: z.array(z.string()),
    Labels: z.record(z.string(), z.string()),
    Healthcheck: z.object({ Test: z.array(z.string()) }),
  }),
});
export type ImageDescription = z.output<typeof imageSchema>;

const execute = promisify(execFile);

/** The image that IMAGE names. */
export function imageUnderTest(): string {
  const { IMAGE: image = '' } = process.env;
  if (image === '')
    throw new Error('IMAGE must name the image to test: run .ci/image, which builds it first');
  return image;
}

/** Runs `docker`; throws with what it said when it fails. */
const docker = (...args: string[]): Promise<Output> =>
  execute('docker', args, { timeout: 120_000, maxBuffer: 2 ** 26 });

async function inspect<T extends z.ZodType>(schema: T, ...args: string[]): Promise<z.output<T>> {
  const { stdout } = await docker(...args);
  return schema.parse(JSON.parse(stdout));
}

export const describeImage = (image: string): Promise<ImageDescription> =>
  inspect(imageSchema, 'image', 'inspect', '--format', '{{json .}}', image);

/** The image's size by the engine alone: that of a base has no more to it. */
export const sizeOf = (image: string): Promise<number> =>
  inspect(z.number(), 'image', 'inspect', '--format', '{{json .Size}}', image);

/** Runs a container of the image in the background. */
export async function startContainer(
  image: string,
  { options = [], env = {}, command = [] }: ContainerOptions = {},
): Promise<Container> {
  const variables = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const label = ['--label', 'stripe-mongo-sync.test'];
  const created = await docker('create', ...label, ...variables, ...options, image, ...command);
  const id = created.stdout.trim();
  atEnd(async () => {
    await docker('rm', '--force', '--volumes', id);
  });
  await docker('start', id);

  const state = (): Promise<ContainerState> =>
    inspect(stateSchema, 'inspect', '--format', '{{json .State}}', id);
  const logs = (): Promise<Output> => docker('logs', id);
  const reach = async (what: string, isThere: (now: ContainerState) => boolean, timeoutMs = 60_000) => {
    const reached = await until(
      async () => {
        const now = await state();
        return (isThere(now) || !now.Running) && now;
      },
      { what: `the container to be ${what}`, timeoutMs, intervalMs: 100 },
    );
    if (isThere(reached)) return reached;
    const { stdout, stderr } = await logs();
    throw new Error(`The container ended with ${reached.ExitCode} before it was ${what}: ${stdout}${stderr}`);
  };
  return {
    state,
    logs,
    execute: async (...words) => (await docker('exec', id, ...words)).stdout,
    signal: async (name) => {
      await docker('kill', '--signal', name, id);
    },
    health: async (status, timeoutMs) => {
      await reach(status, ({ Health }) => Health?.Status === status, timeoutMs);
    },
    ended: () => reach('ended', ({ Running }) => !Running),
    stop: async () => {
      const startedAt = performance.now();
      await docker('stop', '--time', '60', id);
      return { code: (await state()).ExitCode, afterMs: performance.now() - startedAt };
    },
  };
}

/** Runs a command of the image to its end. */
export async function runInContainer(
  image: string,
  options: ContainerOptions,
): Promise<Output & { code: number }> {
  const container = await startContainer(image, options);
  const { ExitCode } = await container.ended();
  return { code: ExitCode, ...(await container.logs()) };
}
