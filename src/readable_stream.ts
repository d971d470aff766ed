/**
 * A receiver as a `ReadableStream`.
 *
 * @module
 */

import { type ItemSource, PendingItem } from "./iteration.ts";
import { checkHighWaterMark, checkName, checkOptions } from "./check.ts";

/** Options of {@linkcode Receiver.toReadableStream}. */
export interface ReadableOptions {
  /**
   * How many values (of a stream of bytes: how many bytes) the stream takes before it is asked for them;
   * 0 unless given. A cancel loses what was taken ahead.
   */
  readonly highWaterMark?: number;
}

type Controller = ReadableStreamDefaultController<unknown> | ReadableByteStreamController;

/** The stream of what a source gives; `close` closes the receiver behind it. */
export function streamOf<Value>(
  open: () => ItemSource<Value>,
  isOfBytes: boolean,
  close: (...reason: [reason: unknown] | []) => void,
  options: ReadableOptions & { readonly type?: "bytes" } = {},
): ReadableStream<Value> | ReadableStream<Uint8Array<ArrayBuffer>> {
  const { highWaterMark = 0, type } = checkOptions("make a stream", options);
  checkHighWaterMark(highWaterMark);
  if (type !== undefined) checkName("make a stream", "type", type, ["bytes"]);
  if (type === "bytes" && !isOfBytes) {
    throw new TypeError(
      'Cannot make a stream of bytes: the channel must have the layout "bytes", received one of another',
    );
  }
  const source = open();
  return type === undefined
    ? new ReadableStream<Value>(
      new Reading(source, close, enqueue, (controller) => {
        controller.close();
      }),
      { highWaterMark },
    )
    : new ReadableStream(
      {
        type,
        ...new Reading(source, close, enqueueBytes, (controller) => {
          try {
            controller.close();
          } catch (error) {
            // The bytes end within an element of a reader's own buffer.
            return controller.error(error);
          }
          // A reader's own buffer is given back by an answer only.
          (controller as ReadableByteStreamController).byobRequest?.respond(0);
        }),
      },
      { highWaterMark },
    );
}

function enqueue(controller: Controller, value: unknown): boolean {
  (controller as ReadableStreamDefaultController<unknown>).enqueue(value);
  return true;
}

/** An empty message has no bytes to enqueue, and a stream of bytes has no messages. */
function enqueueBytes(controller: Controller, value: unknown): boolean {
  const bytes = value as Uint8Array<ArrayBuffer>;
  if (bytes.length === 0) return false;
  controller.enqueue(bytes);
  return true;
}

/**
 * The source of a stream. A value goes from the ring into the stream in one step: between the two nothing
 * can be cancelled.
 */
class Reading<Value> {
  readonly #source: ItemSource<Value>;
  readonly #close: (...reason: [reason: unknown] | []) => void;
  readonly #enqueue: (controller: Controller, value: unknown) => boolean;
  readonly #end: (controller: Controller) => void;
  #isUnderWay = false;
  #pending: { readonly item: PendingItem<Value>; readonly resolve: () => void } | undefined;

  constructor(
    source: ItemSource<Value>,
    close: (...reason: [reason: unknown] | []) => void,
    enqueue: (controller: Controller, value: unknown) => boolean,
    end: (controller: Controller) => void,
  ) {
    this.#source = source;
    this.#close = close;
    this.#enqueue = enqueue;
    this.#end = end;
  }

  /** The stream wants a value. */
  readonly pull = (controller: Controller): void | Promise<void> => {
    const source = this.#source;
    let isTaking = false;
    try {
      if (!this.#isUnderWay) {
        this.#isUnderWay = true;
        source.begin();
      }
      while (source.isThere()) {
        isTaking = true;
        if (this.#enqueue(controller, source.take())) return;
        isTaking = false;
      }
    } catch (error) {
      this.#finish();
      if (!isTaking && source.isClosed()) return this.#end(controller);
      controller.error(error);
      // Nothing more comes out of the stream: the senders must not wait for it.
      if (isTaking) this.#close(error);
      return;
    }
    return this.#wait(controller);
  };

  #wait(controller: Controller): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const item = new PendingItem(this.#source, {
      give: (value) => {
        if (!this.#enqueue(controller, value)) return false;
        this.#settle();
        return true;
      },
      end: (failure) => {
        this.#settle();
        this.#finish();
        if (failure === undefined) this.#end(controller);
        else controller.error(failure);
      },
      fail: (error) => {
        this.#settle();
        this.#finish();
        controller.error(error);
        this.#close(error);
      },
    });
    this.#pending = { item, resolve };
    this.#source.wait(item);
    return promise;
  }

  #settle(): void {
    this.#pending?.resolve();
    this.#pending = undefined;
  }

  #finish(): void {
    if (!this.#isUnderWay) return;
    this.#isUnderWay = false;
    this.#source.finish();
  }

  /** The stream wants nothing more. */
  readonly cancel = (reason: unknown): void => {
    if (this.#pending !== undefined) this.#source.forget(this.#pending.item);
    this.#settle();
    this.#finish();
    if (reason === undefined) this.#close();
    else this.#close(reason);
  };
}
