// Laws of claiming: a request is held by one at a time, its fence only grows, whoever has lost it changes nothing, and each life of it
// ends once, however holders claim, die, come back late, and whatever users do meanwhile.
import fc from 'fast-check';
import type { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import type { Claim } from '../../src/requests/claims.js';
import { silentRequestsObserver } from '../../src/requests/observer.js';
import { isEndStatus } from '../../src/requests/request.js';
import type { Holding, RequestSteps } from '../../src/requests/steps.js';
import { Sweeper } from '../../src/requests/upkeep/sweep.js';
import { freshDatabase } from '../support/database.js';
import {
  Holder,
  quickRunner,
  quickSettings,
  type RequestDocument,
  requestsLab,
  resultOf,
} from '../support/requests.js';

const commands = ['softDelete', 'syncAll'];
const error = { code: 'internal', message: 'passing' } as const;

type Step =
  | {
      kind: 'claim' | 'claimOldest' | 'renew' | 'finish' | 'retry' | 'release' | 'crash';
      holder: number;
      request: number;
      which: number;
    }
  | { kind: 'expire' | 'setBack' | 'cancel'; request: number }
  | { kind: 'recover' };

const request = fc.nat({ max: 1 });
const holder = fc.nat({ max: 1 });
/** Which of the claims that a holder has had; it may come back late with any of them. */
const which = fc.nat({ max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom('claim', 'claimOldest'), holder, request, which }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('renew', 'finish', 'retry', 'release'),
      holder,
      request,
      which,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash'), holder, request, which }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('expire', 'setBack', 'cancel'), request }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('recover') }) },
);

test('a request has one holder at a time, and whoever has lost it changes nothing', async () => {
  const lab = requestsLab(freshDatabase());
  const place = await lab.connect();
  const settings = { ...quickSettings, leaseMs: 60_000, retryMaxMs: 1, maxAttempts: 100 };
  const queues = ['a', 'b'].map((owner) => new Holder(place, owner, settings));
  const housekeeping = new Sweeper(place, settings, lab.logger, silentRequestsObserver);
  const signal = new AbortController().signal;

  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      await lab.requests.deleteMany({});
      const ids = await lab.insert(
        ...Array.from({ length: 2 }, () => ({ command: 'softDelete', stripeId: 'cus_1' })),
      );
      /** What each holder believes it holds; never told that it has lost it. */
      const beliefs = queues.map(() => new Map<string, Claim[]>());
      const fences = new Map<string, number>(ids.map((id) => [String(id), 0]));
      const keep = (of: number, claim: Claim | undefined): void => {
        if (!claim) return;
        const key = String(claim.id);
        expect(claim.fence).toBeGreaterThan(fences.get(key) ?? 0);
        fences.set(key, claim.fence);
        beliefs[of]!.set(key, [claim, ...(beliefs[of]!.get(key) ?? [])]);
      };

      for (const each of steps) {
        await take(each);
        for (const id of ids) await check(id);
      }

      async function take(each: Step): Promise<void> {
        if (each.kind === 'recover') {
          await housekeeping.recover(signal);
          await housekeeping.endCancelled(signal);
          return;
        }
        const id = ids[each.request]!;
        if (each.kind === 'expire') {
          await lab.requests.updateOne(
            { _id: id, status: 'running' },
            { $set: { 'lease.expiresAt': new Date(0) } },
          );
        } else if (each.kind === 'setBack') {
          await lab.requests.updateOne({ _id: id }, { $set: { status: 'pending' } });
        } else if (each.kind === 'cancel') {
          await lab.requests.updateOne({ _id: id }, { $set: { cancel: true } });
        } else if ('holder' in each) {
          await act(each, id);
        }
      }

      async function act(
        { kind, holder: of, which: nth }: Extract<Step, { holder: number }>,
        id: mongo.ObjectId,
      ): Promise<void> {
        const queue = queues[of]!;
        if (kind === 'claim') keep(of, (await queue.claims.claim(id, commands))?.claim);
        if (kind === 'claimOldest') {
          const [oldest] = await queue.claims.claimable(commands, 1);
          if (oldest) keep(of, (await queue.claims.claim(oldest, commands))?.claim);
        }
        if (kind === 'crash') beliefs[of]!.clear();
        const claims = beliefs[of]!.get(String(id)) ?? [];
        const claim = claims[nth % Math.max(1, claims.length)];
        if (!claim) return;
        const before = await lab.read(id);
        const isHolder = before['status'] === 'running' && isHeldBy(before, queue.owner, claim);
        const holding = await write(kind, queue, claim);
        if (holding === undefined) return;
        const after = await lab.read(id);
        // An earlier try of the same step may have done it: then it is told so, and does nothing.
        if (isHolder) expect(holding).not.toBe('lost');
        else expect(after).toEqual(before);
      }

      async function check(id: mongo.ObjectId): Promise<void> {
        const found = await lab.read(id);
        const holders = queues.filter((queue, of) => {
          const claims = beliefs[of]!.get(String(id)) ?? [];
          return found['status'] === 'running' && claims.some((claim) => isHeldBy(found, queue.owner, claim));
        });
        expect(holders.length).toBeLessThanOrEqual(1);
        const fence = (found['lease'] as { fence?: number } | undefined)?.fence ?? 0;
        expect(fence).toBe(fences.get(String(id)));
        if (isEndStatus(found['status'])) expect(found['expireAt']).toBeInstanceOf(Date);
      }
    }),
    { numRuns: 40, interruptAfterTimeLimit: 12_000, markInterruptAsFailure: false },
  );
});

function isHeldBy(found: RequestDocument, owner: string, { fence }: Claim): boolean {
  const lease = found['lease'] as { owner?: unknown; fence?: unknown } | undefined;
  return lease?.owner === owner && lease.fence === fence;
}

async function write(kind: Step['kind'], queue: RequestSteps, claim: Claim): Promise<Holding | undefined> {
  switch (kind) {
    case 'renew':
      return queue.renew(claim, { progress: { done: 1 } });
    case 'finish':
      return queue.finish(claim, claim.attempt, { status: 'succeeded', result: resultOf() });
    case 'retry':
      return queue.requeue(claim, claim.attempt, { kind: 'retry', error, delayMs: 1 });
    case 'release':
      return queue.requeue(claim, claim.attempt, { kind: 'release', error, delayMs: 0 });
    default:
      return undefined;
  }
}

test('several workers end each of many requests once, and never work on one at the same time', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ faults: fc.nat({ max: 2 }), turns: fc.nat({ max: 20 }), isScan: fc.boolean() }), {
        minLength: 20,
        maxLength: 60,
      }),
      async (plans) => {
        const lab = requestsLab(freshDatabase());
        const running = new Map<string, number>();
        const ended: string[] = [];
        const overlaps: string[] = [];
        const place = await lab.connect();
        const ids = await lab.insert(
          ...plans.map(({ isScan }, index) =>
            isScan
              ? { command: 'syncAll', dryRun: index % 2 === 0 }
              : { command: 'softDelete', stripeId: `cus_${index}` },
          ),
        );
        const plan = new Map(ids.map((id, index) => [String(id), plans[index]!]));
        const work = async (
          _command: unknown,
          { requestId, attempt }: { requestId: mongo.ObjectId; attempt: number },
        ) => {
          const key = String(requestId);
          const { faults, turns } = plan.get(key)!;
          const now = (running.get(key) ?? 0) + 1;
          if (now > 1) overlaps.push(key);
          running.set(key, now);
          for (let turn = 0; turn < turns; turn += 1)
            await new Promise((resolve) => void setImmediate(resolve));
          running.set(key, now - 1);
          if (attempt <= faults) throw new Error('passing');
          return resultOf();
        };
        const observer = {
          requestEnded: ({ status, count }: { status: string; count: number }) =>
            ended.push(...Array<string>(count).fill(status)),
        };
        const workers = await Promise.all(
          [1, 2, 3].map(() =>
            lab.worker({
              runner: quickRunner(work),
              database: place,
              observer,
              settings: { pollIntervalMs: 50 },
            }),
          ),
        );

        for (const id of ids) await lab.ended(id, 15_000);
        for (const worker of workers) await worker.drain({ withinMs: 5_000 });

        expect(overlaps).toEqual([]);
        expect(ended).toHaveLength(ids.length);
        expect(await lab.requests.countDocuments({ status: { $nin: ['succeeded', 'coalesced'] } })).toBe(0);
      },
    ),
    { numRuns: 4 },
  );
});
