/**
 * A sender as a `WritableStream`.
 *
 * @module
 */

import { checkFunction, checkHighWaterMark, checkOptions } from "./check.ts";
import type { SendOptions } from "./sender.ts";

/** Options of {@linkcode Sender.toWritableStream}: how much the stream takes ahead. */
export interface WritableOptions<Value> {
  /**
   * How much is to wait in the stream, behind the chunk that is being sent, before it holds its writers
   * back: chunks, or what `size` measures. 1 unless given, as in every `WritableStream`.
   */
  readonly highWaterMark?: number;
  /** How much a chunk counts; 1 unless given. */
  readonly size?: (chunk: Value) => number;
}

/** What the stream needs of the sender behind it. */
export interface StreamSender<Value> {
  /** Whether the sender, or its channel, is closed. */
  isClosed(): boolean;
  send(value: Value, options: SendOptions): Promise<void>;
  close(...reason: [reason: unknown] | []): void;
  /** Why nothing can be sent any more. */
  closedError(): Error;
  /** Calls `onClosed` when nothing can be sent any more; returns what ends that. */
  watchForClose(onClosed: () => void): () => void;
}

/** The stream that sends what is written to it; chunks of more than `bytesMost` bytes in several messages. */
export function streamTo<Value>(
  sender: StreamSender<Value>,
  bytesMost: number | undefined,
  options: WritableOptions<Value> = {},
): WritableStream<Value> {
  const { highWaterMark = 1, size } = checkOptions("make a stream", options);
  checkHighWaterMark(highWaterMark);
  if (size !== undefined) checkFunction("make a stream", "size", size);
  return new WritableStream<Value>(new Writing(sender, bytesMost), {
    highWaterMark,
    // It is only called with a chunk, whatever its type says.
    ...(size && { size: size as QueuingStrategy<Value>["size"] & object }),
  });
}

/**
 * Calls a function if there still is one: the watch must not keep a stream that the program has forgotten.
 * (In a function of its own: closures of one function keep what any of them does.)
 */
function callWeakly(call: () => void): () => void {
  const forgettable = new WeakRef(call);
  return () => forgettable.deref()?.();
}

/** The sink of a stream. Whatever way the stream ends, the sender behind it is closed, and says how. */
class Writing<Value> implements UnderlyingSink<Value> {
  readonly #sender: StreamSender<Value>;
  readonly #bytesMost: number | undefined;
  #stopWatch: () => void = () => {};
  /** What the watch calls; it is kept here only. */
  #watched: () => void = () => {};

  constructor(sender: StreamSender<Value>, bytesMost: number | undefined) {
    this.#sender = sender;
    this.#bytesMost = bytesMost;
  }

  start(controller: WritableStreamDefaultController): void {
    if (this.#sender.isClosed()) return this.#fail(controller);
    this.#watched = () => this.#fail(controller);
    this.#stopWatch = this.#sender.watchForClose(callWeakly(this.#watched));
  }

  /** Nothing can be sent any more: a pipe into the stream is not to find out with its next chunk. */
  #fail(controller: WritableStreamDefaultController): void {
    const error = this.#sender.closedError();
    this.#sender.close();
    controller.error(error);
  }

  async write(chunk: Value, { signal }: WritableStreamDefaultController): Promise<void> {
    const sender = this.#sender;
    try {
      const most = this.#bytesMost;
      if (most === undefined || !(chunk instanceof Uint8Array) || chunk.length <= most) {
        return await sender.send(chunk, { signal });
      }
      for (let start = 0; start < chunk.length; start += most) {
        await sender.send(chunk.subarray(start, start + most) as Value, { signal });
      }
    } catch (error) {
      // An abort comes with its own reason. After any other error the stream calls its sink no more.
      if (signal.aborted) throw error;
      this.#stopWatch();
      if (sender.isClosed()) sender.close();
      else sender.close(error);
      throw error;
    }
  }

  /** Everything that was written is in the ring. */
  close(): void {
    this.#stopWatch();
    const sender = this.#sender;
    if (!sender.isClosed()) return sender.close();
    const error = sender.closedError();
    sender.close();
    throw error;
  }

  abort(reason: unknown): void {
    this.#stopWatch();
    this.#sender.close(reason);
  }
}
