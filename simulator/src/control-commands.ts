// The commands of the control API: each a schema and what it does to the simulator in this process.
import { z } from 'zod';
import {
  faultSchema,
  fieldsSchema,
  keyOptionsSchema,
  latencySchema,
  limitsSchema,
  mutationSchema,
  seedSchema,
  targetSchema,
} from './control-schemas.js';
import type { FaultHandle, FaultOrder, SimulatedMode, StripeSimulator } from './types.js';

/** What commands act on: the simulator, and the faults ordered from outside by number. */
export interface ControlContext {
  simulator: StripeSimulator;
  faults: Map<number, FaultHandle>;
}

interface Command<S extends z.ZodType, R> {
  input: S;
  run: (context: ControlContext, input: z.output<S>) => R;
}

const options = mutationSchema.exactOptional();
const target = targetSchema.exactOptional();
const id = z.string();

const COMMANDS = {
  'listed-count': command(z.strictObject({ target }), (context, input) => modeOf(context, input).listedCount),
  create: command(
    z.strictObject({ target, fields: fieldsSchema.exactOptional(), options }),
    (context, input) => modeOf(context, input).create(input.fields, input.options),
  ),
  'create-raw': command(z.strictObject({ target, json: z.string(), options }), (context, input) =>
    modeOf(context, input).createRaw(input.json, input.options),
  ),
  update: command(z.strictObject({ target, id, fields: fieldsSchema, options }), (context, input) =>
    modeOf(context, input).update(input.id, input.fields, input.options),
  ),
  delete: command(z.strictObject({ target, id, options }), (context, input) =>
    modeOf(context, input).delete(input.id, input.options),
  ),
  get: command(z.strictObject({ target, id }), (context, input) => modeOf(context, input).get(input.id)),
  list: command(z.strictObject({ target }), (context, input) => modeOf(context, input).list()),
  'list-ids': command(z.strictObject({ target }), (context, input) => modeOf(context, input).listIds()),
  seed: command(z.strictObject({ target, seed: seedSchema }), (context, input) =>
    modeOf(context, input).seed(input.seed),
  ),
  'update-random': command(z.strictObject({ target, n: z.int().nonnegative(), options }), (context, input) =>
    modeOf(context, input).updateRandom(input.n, input.options),
  ),
  'delete-random': command(z.strictObject({ target, n: z.int().nonnegative(), options }), (context, input) =>
    modeOf(context, input).deleteRandom(input.n, input.options),
  ),
  'create-test-clock': command(z.strictObject({ target, id }), (context, input) =>
    modeOf(context, input).createTestClock(input.id),
  ),
  'delete-test-clock': command(z.strictObject({ target, id }), (context, input) =>
    modeOf(context, input).deleteTestClock(input.id),
  ),
  clear: command(z.strictObject({ target }), (context, input) => modeOf(context, input).clear()),
  keys: command(
    z.strictObject({ accountId: z.string().exactOptional() }),
    ({ simulator }, input) => simulator.account(input.accountId).keys,
  ),
  'add-key': command(
    z.strictObject({ key: z.string(), options: keyOptionsSchema.exactOptional() }),
    ({ simulator }, input) => simulator.addKey(input.key, input.options),
  ),
  'expire-key': command(z.strictObject({ key: z.string() }), ({ simulator }, { key }) =>
    simulator.expireKey(key),
  ),
  'revoke-key': command(z.strictObject({ key: z.string() }), ({ simulator }, { key }) =>
    simulator.revokeKey(key),
  ),
  latency: command(z.strictObject({ latency: latencySchema.exactOptional() }), ({ simulator }, input) =>
    simulator.setLatency(input.latency),
  ),
  limits: command(z.strictObject({ limits: limitsSchema.exactOptional() }), ({ simulator }, input) =>
    simulator.setLimits(input.limits),
  ),
  'log-size': command(z.strictObject({ size: z.int().nonnegative() }), ({ simulator }, { size }) =>
    simulator.setLogSize(size),
  ),
  clock: command(z.strictObject({ offsetMs: z.number() }), ({ simulator }, { offsetMs }) =>
    simulator.clock.setOffset(offsetMs),
  ),
  fault: command(faultSchema, ({ simulator, faults }, input) => {
    const number = faults.size;
    faults.set(number, simulator.fault(toFaultOrder(input)));
    return number;
  }),
  'fault-hits': command(
    z.strictObject({ fault: z.int() }),
    ({ faults }, { fault }) => faults.get(fault)?.hits ?? 0,
  ),
  'fault-remove': command(z.strictObject({ fault: z.int() }), ({ faults }, { fault }) =>
    faults.get(fault)?.remove(),
  ),
  'clear-faults': command(z.strictObject({}), ({ simulator }) => simulator.clearFaults()),
  stats: command(z.strictObject({}), ({ simulator }) => simulator.stats),
  requests: command(z.strictObject({}), ({ simulator }) => simulator.requests),
  reset: command(z.strictObject({}), ({ simulator }) => simulator.reset()),
} as const;

export type CommandName = keyof typeof COMMANDS;
export type CommandInput<N extends CommandName> = z.input<(typeof COMMANDS)[N]['input']>;
export type CommandResult<N extends CommandName> = ReturnType<(typeof COMMANDS)[N]['run']>;

export function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

/** Checks the input and runs the command. Throws a ZodError for a wrong one. */
export function runCommand(name: CommandName, context: ControlContext, input: unknown): unknown {
  // Input and function of one command belong together, which the type of a union of commands cannot say.
  const { input: schema, run } = COMMANDS[name] as Command<z.ZodType, unknown>;
  return run(context, schema.parse(input));
}

function command<S extends z.ZodType, R>(input: S, run: Command<S, R>['run']): Command<S, R> {
  return { input, run };
}

function modeOf(
  { simulator }: ControlContext,
  input: { target?: z.output<typeof targetSchema> },
): SimulatedMode {
  const account = simulator.account(input.target?.accountId);
  return (input.target?.livemode ?? simulator.livemode) ? account.live : account.test;
}

function toFaultOrder(input: z.output<typeof faultSchema>): FaultOrder {
  const { fault, prefix, pattern, endpoint, method, times, skip } = input;
  const path = pattern === undefined ? prefix : new RegExp(pattern.source, pattern.flags);
  return {
    ...fault,
    ...(path === undefined ? {} : { path }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(method === undefined ? {} : { method }),
    times: times === 'always' ? Infinity : (times ?? 1),
    skip: skip ?? 0,
  };
}
