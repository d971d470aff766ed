/**
 * The base of the library's errors, and those of finding and opening the native library.
 *
 * @module
 */

/** The base of every run-time error of this library: `code` names the condition. */
export class MillraceError extends Error {
  /** The name of the class. */
  override name = "MillraceError";
  /** A stable name of the condition, as `"CHANNEL_CLOSED"`. */
  readonly code: string;

  /** Makes an error with a `code`. */
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * The native library could not be used: `"LIBRARY_NOT_FOUND"`, `"LIBRARY_WRONG_ARCHITECTURE"`,
 * `"LIBRARY_ABI_MISMATCH"`, or, in Deno with `--allow-ffi` for some paths only, `"FFI_NOT_ALLOWED"`.
 */
export class LibraryError extends MillraceError {
  /** The name of the class. */
  override name = "LibraryError";
}

/** This runtime, its version, the system or the processor is not supported (`"UNSUPPORTED_PLATFORM"`). */
export class UnsupportedPlatformError extends MillraceError {
  /** The name of the class. */
  override name = "UnsupportedPlatformError";

  /** Makes the error. */
  constructor(message: string) {
    super("UNSUPPORTED_PLATFORM", message);
  }
}
