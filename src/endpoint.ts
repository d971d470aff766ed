/**
 * What senders, receivers and channels have in common: a native handle, and views of native memory
 * that are taken away before the memory is.
 *
 * @module
 */

import { Bells as bit, type Native, type NativeSymbols, Status, StructBytes } from "../ffi/abi.ts";
import type { Bells } from "./bells.ts";
import { type CorruptSegmentError, MillraceError, TicketError } from "./errors.ts";
import { check, errorOf, native } from "./native.ts";
import { noteClosed, noteOpened } from "./reload.ts";

/** What the native library tells about an endpoint it opened. */
export interface EndpointInfo {
  readonly handle: number;
  readonly mailboxAddress: bigint;
  readonly slotBytes: number;
  readonly capacity: number;
  readonly maxSenders: number;
  readonly maxReceivers: number;
  /** A sender's ring; a receiver's place among the receivers. */
  readonly index: number;
  /** A `Kind`. */
  readonly kind: number;
}

/**
 * Opens an endpoint of the channel that has these bells: `call` fills the info. `issuer` is the library that
 * issued the ticket, if there is one.
 */
export function openInfo(
  action: string,
  bells: Bells,
  call: (symbols: NativeSymbols, info: BigUint64Array) => number,
  issuer?: string,
): EndpointInfo {
  const info = new BigUint64Array(StructBytes.endpointInfo / 8);
  const handle = call(native().symbols, info);
  if (handle < 0) {
    // A ticket that failed may have been the last sender's: whoever waits has to look.
    bells.ring(bit.all, 0);
    if (handle === Status.ticketForeign && issuer !== undefined) checkIssuer(action, issuer);
    throw errorOf(handle, action);
  }
  const words = new Uint32Array(info.buffer);
  return {
    handle,
    mailboxAddress: info[0] as bigint,
    slotBytes: words[2] as number,
    capacity: words[3] as number,
    maxSenders: words[4] as number,
    maxReceivers: words[5] as number,
    index: words[6] as number,
    kind: words[7] as number,
  };
}

/** Each copy of the native library has its own channels. */
function checkIssuer(action: string, issuer: string): void {
  const { path } = native();
  if (issuer === path) return;
  throw new TicketError(
    "TICKET_FOREIGN",
    `Cannot ${action}: expected a ticket of the native library ${path}, received one of another copy, ` +
      `${issuer}; have one installation of Millrace, and the same MILLRACE_LIB, in all threads`,
  );
}

/** The word of the mailbox that the native library reads when the thread ends. */
const viewsWord = 3;

/** An open endpoint of the native library, and the memory it lets this thread see. */
export class Endpoint {
  /** The handle; 0 once closed. Every native call checks it. */
  handle: number;
  readonly info: EndpointInfo;
  readonly bells: Bells;
  readonly symbols: NativeSymbols;
  /** The ring and position the last poll or reserve was about. */
  readonly mailbox: Uint32Array;
  readonly #native: Native;
  readonly #memories: ArrayBuffer[] = [];
  /** A view of the ring mapped last; its length tells whether the ring is still mapped. */
  #probe: Uint8Array | undefined;
  #isExposed = false;
  readonly #onClose: (() => void)[] = [];

  constructor(info: EndpointInfo, bells: Bells) {
    this.#native = native();
    this.info = info;
    this.handle = info.handle;
    this.bells = bells;
    this.symbols = this.#native.symbols;
    noteOpened(this);
    // The mailbox lies in the library's own table, which is never unmapped. A channel has none.
    this.mailbox = buildOn(
      this,
      () =>
        new Uint32Array(
          info.mailboxAddress === 0n
            ? new ArrayBuffer(0)
            : this.#native.mapMemory(info.mailboxAddress, StructBytes.mailbox),
        ),
    );
  }

  /** Maps the data of a ring. The buffer is detached when the endpoint closes. */
  mapRing(ring: number): ArrayBuffer {
    const place = new BigUint64Array(2);
    check(this.symbols.millrace_endpoint_ring(this.handle, ring, place), "map a ring");
    const memory = this.mapKept(place[0] as bigint, Number(place[1]));
    this.#probe = new Uint8Array(memory);
    return memory;
  }

  /** Maps native memory until the endpoint closes. */
  mapKept(address: bigint, bytes: number): ArrayBuffer {
    const memory = this.#native.mapMemory(address, bytes);
    this.#memories.push(memory);
    return memory;
  }

  /** Has `close` called when this endpoint has closed. */
  onClose(close: () => void): void {
    this.#onClose.push(close);
  }

  /**
   * To be called before a view of a ring is handed to the program: it may pass it on to a thread
   * that outlives this one.
   */
  expose(): void {
    if (this.#isExposed) return;
    this.#isExposed = true;
    this.symbols.millrace_endpoint_expose(this.handle);
  }

  /** Says whether the program has a room in the ring that it has not committed. */
  noteRoom(isOut: boolean): void {
    this.mailbox[viewsWord] = isOut ? 1 : 0;
  }

  /** The program has one more view of a slab, or one fewer. */
  countView(change: 1 | -1): void {
    this.mailbox[viewsWord] = (this.mailbox[viewsWord] as number) + change;
  }

  /**
   * Throws if a program has transferred the ring mapped last away: what is then written and read
   * through its views is nothing.
   */
  checkMemory(): void {
    // Once closed the views are gone by our own hand, and the native call says so.
    if (this.#probe?.length === 0 && this.handle !== 0) throw transferred();
  }

  /** Whether only this very thread could end a blocking wait of this endpoint. */
  isAlone(): boolean {
    return this.symbols.millrace_endpoint_is_alone(this.handle) === 1;
  }

  orphans(): number {
    return this.symbols.millrace_endpoint_orphans(this.handle);
  }

  /**
   * The error for an impossible counter or record in the shared memory. The channel is closed by it, for
   * everyone: nobody is to wait for what will not come.
   */
  corrupt(action: string): CorruptSegmentError {
    if (this.handle !== 0) {
      this.symbols.millrace_endpoint_poison(this.handle);
      this.bells.ring(bit.all, 0);
    }
    return errorOf(Status.corrupt, action) as CorruptSegmentError;
  }

  /**
   * Closes the endpoint. Every view of its memory has length 0 afterwards, so nothing that was kept
   * can read what the memory becomes.
   *
   * @param reason Why, encoded, if the channel is to end with it.
   */
  close(reason?: Uint8Array): void {
    this.#end((handle) =>
      reason === undefined
        ? this.symbols.millrace_endpoint_close(handle)
        : this.symbols.millrace_endpoint_close_with_reason(handle, reason, reason.length)
    );
  }

  /** Closes it as if this process had died. */
  abandon(): void {
    this.#end((handle) => this.symbols.millrace_endpoint_abandon(handle));
  }

  #end(giveUp: (handle: number) => number): void {
    if (this.handle === 0) return;
    const handle = this.handle;
    for (const memory of this.#memories.splice(0)) {
      // Somebody has transferred it away, or will not let it go: we cannot take it back, so it stays.
      if (!detach(memory)) this.symbols.millrace_endpoint_quarantine(handle);
    }
    const answer = giveUp(this.take());
    if (answer > 0) this.bells.ring(answer, this.info.index);
    for (const close of this.#onClose.splice(0)) close();
  }

  /** Takes the handle, to give it up in another way. */
  take(): number {
    const { handle } = this;
    this.handle = 0;
    noteClosed(this);
    return handle;
  }
}

/** Makes what stands on an endpoint; if that fails the endpoint is closed, not left behind. */
export function buildOn<Built>(endpoint: Endpoint, build: () => Built): Built {
  try {
    return build();
  } catch (error) {
    endpoint.close();
    throw error;
  }
}

/** Makes every view of the memory empty. False: it was not ours to do so. */
function detach(memory: ArrayBuffer): boolean {
  if (memory.byteLength === 0) return false;
  structuredClone(memory, { transfer: [memory] });
  return memory.byteLength === 0;
}

/** The error of an endpoint whose memory a program has transferred away. */
export function transferred(): MillraceError {
  return new MillraceError(
    "MEMORY_TRANSFERRED",
    "Cannot use the channel: the buffer of one of its views was transferred away; " +
      "transfer a copy, as slice() makes it",
  );
}
