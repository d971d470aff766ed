/** The sender Workers and what is said between them and the main thread. */

import type { SenderTicket } from "../../mod.ts";
import type { SourceFile } from "./files.ts";

/** What the main thread tells a Worker. */
export type Order =
  | {
    readonly order: "send";
    readonly sender: number;
    readonly files: readonly SourceFile[];
    /** Send through this channel; by `postMessage` when there is none. */
    readonly ticket: SenderTicket<string> | undefined;
  }
  /** So many messages of `postMessage` have been received. */
  | { readonly order: "acknowledge"; readonly received: number }
  | { readonly order: "stop" };

/** What a Worker tells when it has sent everything, or was stopped. */
export interface Report {
  /** Messages it sent. */
  readonly sent: number;
  /** Files that could not be read to the end. */
  readonly unreadable: number;
}

/** What a Worker says: that it is ready, a message of a `postMessage` run, or how a run ended. */
export type Saying = "ready" | string | Report;

interface Member {
  readonly worker: Worker;
  listener: (saying: Saying) => void;
}

/** The sender Workers. */
export class Crew implements Disposable {
  readonly #members: Member[] = [];
  /** Rejects when a Worker fails. */
  readonly #failed = Promise.withResolvers<never>();

  private constructor(size: number) {
    // Reported by whatever waits for the crew at that time.
    this.#failed.promise.catch(() => {});
    for (let i = 0; i < size; i++) {
      const worker = new Worker(new URL("./sender.ts", import.meta.url), { type: "module" });
      const member: Member = { worker, listener: () => {} };
      worker.onmessage = (event: MessageEvent<Saying>) => member.listener(event.data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.#failed.reject(new Error(`Sender ${i} failed: ${event.message}`));
      };
      this.#members.push(member);
    }
  }

  /** Starts `size` Workers; resolves when all are ready. */
  static async start(size: number): Promise<Crew> {
    const crew = new Crew(size);
    try {
      await crew.#each((member, done: (saying: Saying) => void) => {
        member.listener = done;
      });
      return crew;
    } catch (error) {
      crew[Symbol.dispose]();
      throw error;
    }
  }

  get size(): number {
    return this.#members.length;
  }

  /**
   * Lets the Workers send: each through the channel its ticket is for, or, without tickets, by
   * `postMessage`; `receive` is called with what comes that way.
   *
   * @returns Their reports, when all have ended.
   */
  send(
    files: readonly SourceFile[],
    tickets: readonly SenderTicket<string>[],
    receive: (message: string, sender: number) => void = () => {},
  ): Promise<Report[]> {
    return this.#each((member, done: (report: Report) => void, sender) => {
      member.listener = (saying) => {
        if (typeof saying === "string") receive(saying, sender);
        else done(saying);
      };
      this.tell(sender, {
        order: "send",
        sender,
        files: files.filter((_, index) => index % this.size === sender),
        ticket: tickets[sender],
      });
    });
  }

  #each<Result>(
    begin: (member: Member, done: (result: Result) => void, index: number) => void,
  ): Promise<Result[]> {
    const all = this.#members.map((member, index) =>
      new Promise<Result>((resolve) => begin(member, resolve, index))
    );
    return Promise.race([Promise.all(all), this.#failed.promise]);
  }

  tell(sender: number, order: Order): void {
    this.#members[sender]?.worker.postMessage(order);
  }

  /** Asks the Workers to stop a `postMessage` run. */
  stop(): void {
    for (let i = 0; i < this.size; i++) this.tell(i, { order: "stop" });
  }

  [Symbol.dispose](): void {
    for (const { worker } of this.#members) worker.terminate();
  }
}
