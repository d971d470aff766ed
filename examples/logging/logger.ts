/** A structured logger over a sender. */

import { Sender, type SenderTicket } from "../../mod.ts";

export type Level = "debug" | "info" | "warn" | "error";

/** What can be in a record beside its message. */
export type Fields = Readonly<Record<string, string | number | boolean | null>>;

/** Logs records as lines of JSON. */
export class Logger {
  readonly #sender: Sender<string>;
  readonly #worker: number;
  #logged = 0;

  constructor(ticket: SenderTicket<string>, worker: number) {
    this.#sender = Sender.open(ticket);
    this.#worker = worker;
  }

  /** Records whose log() returned. */
  get logged(): number {
    return this.#logged;
  }

  /**
   * Logs a record. When this returns the record is in the ring, out of this Worker's hands: it will
   * be written, even if the Worker is terminated or throws in its next line. It waits while the ring
   * is full: a logger that is to drop instead uses `trySend()` and counts.
   *
   * @throws {ChannelClosedError} If the channel is closed; then the record was not logged.
   */
  log(level: Level, message: string, fields: Fields = {}): void {
    const time = new Date().toISOString();
    const record = { time, level, worker: this.#worker, number: this.#logged, message, ...fields };
    // Here and not in the flusher: many Workers make JSON, the one flusher only copies bytes.
    this.#sender.sendSync(`${JSON.stringify(record)}\n`);
    this.#logged++;
  }

  /** What was logged is written; nothing more can be. */
  close(): void {
    this.#sender.close();
  }
}
