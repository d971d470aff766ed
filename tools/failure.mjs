/** An expected failure: shown as one line, without a stack. */
export class Failure extends Error {
  name = "Failure";
}
