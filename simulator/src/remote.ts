// The client of the control API: the simulator's operations, asynchronous.
import type { CommandInput, CommandName, CommandResult } from './control-commands.js';
import type { MutationOptions, RemoteFaultHandle, RemoteFaultOrder, RemoteMode } from './types.js';

export class ControlClient {
  constructor(private readonly url: string) {}

  /** Runs a command there. Rejects with its message when it refuses. */
  async call<N extends CommandName>(name: N, input: CommandInput<N>): Promise<CommandResult<N>> {
    const response = await fetch(`${this.url}/_simulator/${name}`, {
      method: 'POST',
      body: JSON.stringify(input),
    });
    // Our own server: it answers one or the other.
    const answer = (await response.json()) as { result: CommandResult<N> } | { error: string };
    if ('error' in answer) throw new Error(`The simulator refused ${name}: ${answer.error}`);
    return answer.result;
  }

  mode(target: { accountId?: string; livemode?: boolean }): RemoteMode {
    const at = { target };
    const withOptions = (options: MutationOptions | undefined) => (options === undefined ? {} : { options });
    return {
      listedCount: () => this.call('listed-count', at),
      create: (fields = {}, options) => this.call('create', { ...at, fields, ...withOptions(options) }),
      createRaw: (raw, options) => {
        const json = typeof raw === 'string' ? raw : JSON.stringify(raw);
        return this.call('create-raw', { ...at, json, ...withOptions(options) });
      },
      update: (id, fields, options) => this.call('update', { ...at, id, fields, ...withOptions(options) }),
      delete: (id, options) => this.call('delete', { ...at, id, ...withOptions(options) }),
      get: (id) => this.call('get', { ...at, id }),
      list: () => this.call('list', at),
      listIds: () => this.call('list-ids', at),
      seed: (seed) => this.call('seed', { ...at, seed }),
      updateRandom: (n, options) => this.call('update-random', { ...at, n, ...withOptions(options) }),
      deleteRandom: (n, options) => this.call('delete-random', { ...at, n, ...withOptions(options) }),
      createTestClock: (id) => this.call('create-test-clock', { ...at, id }),
      deleteTestClock: (id) => this.call('delete-test-clock', { ...at, id }),
      clear: () => this.call('clear', at),
    };
  }

  async fault(order: RemoteFaultOrder): Promise<RemoteFaultHandle> {
    const { path, endpoint, method, times, skip, ...fault } = order;
    const number = await this.call('fault', {
      fault,
      ...(typeof path === 'string' ? { prefix: path } : {}),
      ...(path instanceof RegExp ? { pattern: { source: path.source, flags: path.flags } } : {}),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(method === undefined ? {} : { method }),
      ...(times === undefined ? {} : { times: times === Infinity ? 'always' : times }),
      ...(skip === undefined ? {} : { skip }),
    });
    return {
      hits: () => this.call('fault-hits', { fault: number }),
      remove: () => this.call('fault-remove', { fault: number }),
    };
  }
}
