// What was asked for cannot be done as things are: exit code 1, one sentence, nothing changed.

export class Refusal extends Error {
  override readonly name = 'Refusal';
}
