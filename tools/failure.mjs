/** An expected failure: shown as one line, without a stack. */
export class Failure extends Error {
  name = "Failure";
  /** What the command ends with. */
  exitCode = 1;
}

/** A mistake in the command line. */
export class UsageError extends Failure {
  name = "UsageError";
  exitCode = 2;
}
