// `adopt`: moves into a collection of customers that an application has filled before us.
import { mongo } from 'mongoose';
import { adoptDocuments, type Adopted } from '../mirror/adoption.js';
import { markAsOurs, requireOurs } from '../ownership.js';
import { customer } from '../resources/customer.js';
import { requireNobodyAtWork } from './bind.js';
import { type ExitCode, exitCodes, UsageFault } from './faults.js';
import { confirm, isAnswered } from './question.js';
import { alignedFacts, count, counted, type Fact } from './screen/table.js';
import type { Terminal } from './screen/terminal.js';
import { type Session, withSession } from './session.js';

export interface AdoptOptions {
  readonly dryRun?: true;
  readonly yes?: true;
  readonly json?: true;
}

type Outcome = Adopted['outcome'];

/** Samples of each outcome. */
const mostSamples = 10;
/** Names of fields that are told; an application that uses ids as names would have any number. */
const mostFields = 100;

interface Sample {
  /** In extended JSON, as it may be of any type. */
  readonly _id: unknown;
  readonly fields: readonly string[];
}

interface Summary {
  readonly counts: Record<Outcome, number>;
  /** How many documents have each unknown field. */
  readonly fields: Record<string, number>;
  readonly samples: Record<Outcome, Sample[]>;
}

/** @throws as `withSession`; UsageFault, Refusal; Fault `foreign_collection` of requests or state */
export async function adopt(terminal: Terminal, options: AdoptOptions): Promise<ExitCode> {
  const { dryRun = false, yes = false } = options;
  if (dryRun && yes) throw new UsageFault(['--yes is not given with --dry-run, which asks nothing']);
  if (!dryRun && !yes && !isAnswered(terminal)) {
    throw new UsageFault(['adopt asks for confirmation, and there is no terminal; give --yes, or --dry-run']);
  }
  return withSession(terminal, async (session) => {
    const { database } = session;
    await requireOurs(database, { except: customer.collection(database.names) });
    await requireNobodyAtWork(session);
    if (!yes) {
      const planned = await goThrough(session, true);
      if (dryRun) {
        print(session, planned, options, false);
        return exitCodes.succeeded;
      }
      terminal.note(textOf(session, planned, true));
      await confirm(session, 'Move these fields under app, and take the collection over? [y/N]');
      await requireNobodyAtWork(session);
    }
    const done = await goThrough(session, false);
    // A scan replaces a customer but for app: an unknown field that could not move would be lost.
    const isMarked = done.counts.conflict === 0;
    if (isMarked) await markAsOurs(database);
    print(session, done, options, isMarked);
    return isMarked ? exitCodes.succeeded : exitCodes.failed;
  });
}

async function goThrough({ database, signal }: Session, isDryRun: boolean): Promise<Summary> {
  const { object, collection, adoptable } = customer;
  const documents = database.db.collection(collection(database.names));
  const summary: Summary = {
    counts: { moved: 0, kept: 0, conflict: 0, left: 0 },
    fields: Object.create(null) as Record<string, number>, // a field may have any name
    samples: { moved: [], kept: [], conflict: [], left: [] },
  };
  for await (const batch of adoptDocuments(documents, { object, ...adoptable }, { isDryRun, signal })) {
    for (const each of batch) add(summary, each);
  }
  return summary;
}

function add({ counts, fields, samples }: Summary, { _id, outcome, fields: names }: Adopted): void {
  counts[outcome] += 1;
  for (const name of names) {
    if (name in fields || Object.keys(fields).length < mostFields) fields[name] = (fields[name] ?? 0) + 1;
  }
  const sample = {
    _id: mongo.BSON.EJSON.serialize({ _id })['_id'] as unknown,
    fields: names.slice(0, mostFields),
  };
  if (samples[outcome].length < mostSamples) samples[outcome].push(sample);
}

function print(
  session: Session,
  summary: Summary,
  { json, dryRun: isPlan = false }: { readonly json?: true; readonly dryRun?: boolean },
  isMarked: boolean,
): void {
  const { terminal, database } = session;
  const { counts, fields, samples } = summary;
  terminal.result(
    json
      ? JSON.stringify({
          database: database.db.databaseName,
          collection: customer.collection(database.names),
          dryRun: isPlan,
          ...counts,
          fields,
          samples,
          isOurs: isMarked,
        })
      : [textOf(session, summary, isPlan), nextText(summary, isPlan, isMarked)].join('\n'),
  );
}

function textOf({ database }: Session, { counts, fields, samples }: Summary, isPlan: boolean): string {
  const all = counts.moved + counts.kept + counts.conflict;
  const names = Object.entries(fields).map(([name, of]) => `${name} (${count(of)})`);
  const facts: readonly Fact[] = [
    ['database', database.db.databaseName],
    ['collection', customer.collection(database.names)],
    ['with a Stripe id', `${counted(all, 'document')} not written by stripe-mongo-sync`],
    [isPlan ? 'fields to move' : 'fields moved', `of ${counted(counts.moved, 'document')}, under app`],
    ['unknown fields', names.length === 0 ? 'none' : names.join(', ')],
    ['conflicts', `${counted(counts.conflict, 'document')} whose app has another value under the same name`],
    ['without a Stripe id', `${counted(counts.left, 'document')}, left as they are`],
  ];
  const listed = (['moved', 'conflict', 'left'] as const).flatMap((outcome) =>
    samples[outcome].map(({ _id, fields: of }) =>
      `  ${outcome}  ${JSON.stringify(_id)}  ${of.join(', ')}`.trimEnd(),
    ),
  );
  return [...alignedFacts(facts), ...listed].join('\n');
}

function nextText({ counts }: Summary, isPlan: boolean, isMarked: boolean): string {
  if (isPlan) return 'Nothing was written';
  if (isMarked) {
    return "The collection is ours now: the next start goes on, and the first scan replaces Stripe's fields and writes _sync";
  }
  return `The collection is not ours yet: rename or remove the fields of ${counted(counts.conflict, 'document')} that app has with another value, and run adopt again`;
}
