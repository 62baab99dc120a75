// `bind`: the Stripe account and mode that a database is bound to. `bind --reset` takes the binding away, so
// that the next key binds the database anew.
import { resetBinding } from '../mirror/binding-state.js';
import { stateOf } from '../mongo/sync-state.js';
import { requireOurs } from '../ownership.js';
import { isPending } from '../requests/expressions.js';
import { resources } from '../resources/registry.js';
import { readAtWork } from '../status/at-work.js';
import { readBinding, readMirrorObjects } from '../status/database-stats.js';
import { type ExitCode, exitCodes, Refusal, UsageFault } from './faults.js';
import { confirm, isAnswered } from './question.js';
import { alignedFacts, count, counted, timeText } from './screen/table.js';
import type { Terminal } from './screen/terminal.js';
import { type Session, withSession } from './session.js';

export interface BindOptions {
  readonly reset?: true;
  readonly yes?: true;
  readonly json?: true;
}

type Binding = Awaited<ReturnType<typeof readBinding>>;

/** @throws as `withSession`; UsageFault, Refusal */
export async function bind(terminal: Terminal, options: BindOptions): Promise<ExitCode> {
  if (options.yes && !options.reset) throw new UsageFault(['--yes is given with --reset only']);
  if (options.reset && !options.yes && !isAnswered(terminal)) {
    throw new UsageFault(['bind --reset asks for confirmation, and there is no terminal; give --yes']);
  }
  return withSession(terminal, (session) =>
    options.reset ? reset(session, options) : show(session, options),
  );
}

async function show({ terminal, database }: Session, { json }: BindOptions): Promise<ExitCode> {
  const binding = await readBinding(stateOf(database));
  const { databaseName } = database.db;
  terminal.result(
    json
      ? JSON.stringify({ database: databaseName, binding: binding ?? null })
      : bindingText(databaseName, binding),
  );
  return exitCodes.succeeded;
}

function bindingText(database: string, binding: Binding): string {
  if (!binding) return `${database} is not bound to an account; the next key that starts binds it`;
  const { accountId, livemode, boundAt, knownKeys } = binding;
  return alignedFacts([
    ['database', database],
    ['account', accountId ?? 'unknown: no key that was used may read its account'],
    ['mode', livemode ? 'live' : 'test'],
    ['bound since', boundAt ? timeText(boundAt) : 'unknown'],
    ['known keys', count(knownKeys)],
  ]).join('\n');
}

async function reset(session: Session, { yes, json }: BindOptions): Promise<ExitCode> {
  const { terminal, database, requests, persist } = session;
  const { databaseName } = database.db;
  await requireOurs(database);
  await requireNobodyAtWork(session);
  const before = await readBinding(stateOf(database));
  const stays = await readMirrorObjects(database);
  const waiting = await persist('counting requests', () => requests.countDocuments(isPending));
  if (!yes) await confirm(session, questionText(databaseName, before));
  // Somebody may have started a daemon while the question was open.
  await requireNobodyAtWork(session);

  const resetAt = await resetBinding(stateOf(database));

  terminal.result(
    json
      ? JSON.stringify({
          database: databaseName,
          binding: null,
          before: before ?? null,
          resetAt,
          mirror: stays,
          waiting,
        })
      : [
          `${databaseName} is not bound to an account any more; the next key that starts binds it, without proof`,
          ...resources.flatMap(({ object, collection }) =>
            stayText(object, collection(database.names), stays[object], resetAt),
          ),
          ...(waiting > 0 ? [waitingText(waiting)] : []),
        ].join('\n'),
  );
  return exitCodes.succeeded;
}

/** @throws Refusal that names who works on the database */
export async function requireNobodyAtWork({ database }: Session): Promise<void> {
  const atWork = await readAtWork(database);
  if (atWork.length === 0) return;
  throw new Refusal(
    `The database is in use by ${atWork.join(', ')}; stop it first (a process that was killed counts for about 40 s more); nothing was changed`,
  );
}

function questionText(database: string, binding: Binding): string {
  const mode = binding?.livemode ? 'live' : 'test';
  const of = binding ? `${binding.accountId ?? 'an account'} in ${mode} mode` : 'no account';
  return (
    `${database} is bound to ${of}. A reset lets the next key bind it without proof, of whatever account that is. ` +
    'It clears times, checkpoints and candidates of scans, held removals, the hashes of known keys, and the count of ' +
    'calls. Customers stay.\nReset the binding? [y/N]'
  );
}

type Counts = Awaited<ReturnType<typeof readMirrorObjects>>[string];

/** What becomes of the objects of the former account. */
function stayText(
  object: string,
  collection: string,
  counts: Counts | undefined,
  resetAt: Date,
): readonly string[] {
  const all = (counts?.live ?? 0) + (counts?.deleted ?? 0);
  if (all === 0) return [];
  const before = `{ '_sync.writtenAt': { $lte: ISODate('${resetAt.toISOString()}') } }`;
  return [
    `${counted(all, object)} of the former account ${all === 1 ? 'stays' : 'stay'} in ${collection}`,
    `If the next key is of the same account, leave ${all === 1 ? 'it' : 'them'}. A key of another account never marks ` +
      'them as deleted: a scan asks Stripe for them and names them as not_in_account, or holds them for approval if there ' +
      'are too many. To remove them, with their fields under app, in mongosh before the next start:',
    `  ${inMongosh(collection)}.deleteMany(${before})`,
  ];
}

/** A collection as it is written in mongosh. */
const inMongosh = (collection: string): string =>
  /^[A-Za-z_]\w*$/.test(collection) ? `db.${collection}` : `db.getCollection(${JSON.stringify(collection)})`;

const waitingText = (waiting: number): string =>
  `${counted(waiting, 'request')} ${waiting === 1 ? 'waits' : 'wait'}, and will run with the next key; "requests cancel" ends them`;
