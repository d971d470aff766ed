/**
 * A Worker that uses a pool as it is told: see the jobs of `PoolJob`.
 *
 * @module
 */

import {
  Pool,
  type PoolTicket,
  Receiver,
  type ReceiverTicket,
  Sender,
  type SenderTicket,
  type Slab,
} from "../../mod.ts";

// Only what is used of a Worker's scope, so that other type checkers need no types of it.
const scope = globalThis as unknown as {
  onmessage: (event: { data: PoolJob }) => void;
  postMessage(message: unknown, transfer?: readonly unknown[]): void;
};

/** What the Worker does. */
export type PoolJob =
  /** Fills `count` slabs, each with its number, and sends them. */
  | { job: "produce"; pool: PoolTicket; to: SenderTicket<Slab>; count: number }
  /** Receives slabs, adds 1 to every byte in place and sends the same slab on. */
  | { job: "pass"; from: ReceiverTicket<Slab>; to: SenderTicket<Slab> }
  /** Allocates, sends, receives and holds slabs until it is terminated. */
  | {
    job: "churn";
    pool: PoolTicket;
    to: SenderTicket<Slab>;
    from: ReceiverTicket<Slab>;
    seed: number;
  }
  /** Allocates `count` slabs, says so, and keeps them. */
  | { job: "hold"; pool: PoolTicket; count: number }
  /** Sends messages of any length, each of one value, until it is terminated. */
  | { job: "stream"; to: SenderTicket<Uint8Array> }
  /** Looks at what there is, takes the first slab out, and gives nothing back. */
  | { job: "peek"; from: ReceiverTicket<unknown> }
  /** Transfers the memory of a slab it owns to the main thread, and keeps the slab. */
  | { job: "transfer"; pool: PoolTicket }
  /** Says what freeing a handle of another thread throws. */
  | { job: "steal"; pool: PoolTicket; handle: Slab["handle"] };

/** How many slabs of the job are held, sent and received when nothing else is told. */
const heldMost = 5;

/** What is held and no longer used: what is forgotten would be closed. */
const kept: unknown[] = [];

function produce({ pool, to, count }: Extract<PoolJob, { job: "produce" }>): void {
  using slabs = Pool.open(pool);
  using sender = Sender.open(to);
  for (let index = 0; index < count; index++) {
    const slab = slabs.allocSync(1 + index % slabs.slabBytes, { timeout: 20_000 });
    slab.bytes.fill(index & 0xff);
    sender.sendSync(slab, { timeout: 20_000 });
  }
}

async function pass({ from, to }: Extract<PoolJob, { job: "pass" }>): Promise<void> {
  using receiver = Receiver.open(from);
  using sender = Sender.open(to);
  for await (const slab of receiver) {
    for (let index = 0; index < slab.length; index++) {
      slab.bytes[index] = (slab.bytes[index] as number) + 1;
    }
    await sender.send(slab);
  }
}

async function churn(job: Extract<PoolJob, { job: "churn" }>): Promise<void> {
  const slabs = Pool.open(job.pool);
  const sender = Sender.open(job.to);
  const receiver = Receiver.open(job.from);
  const held: Slab[] = [];
  let state = job.seed | 1;
  const random = (below: number) => {
    state = Math.imul(state, 1103515245) + 12345 | 0;
    return (state >>> 8) % below;
  };
  const writer = sender.writer();
  for (let step = 0;; step++) {
    const choice = random(6);
    if (choice <= 1 && held.length < heldMost) {
      const slab = slabs.tryAlloc();
      if (slab !== undefined) held.push(slab);
    } else if (choice === 2) held.pop()?.free();
    else if (choice === 3) {
      const slab = held.pop();
      if (slab !== undefined && !sender.trySend(slab)) held.push(slab);
    } else if (choice === 4) {
      const slab = held.pop();
      if (slab !== undefined && !writer.tryPush(slab)) held.push(slab);
    } else {
      const result = receiver.tryReceive();
      if (result.state === "ok") held.push(result.value);
    }
    if (step === 20) scope.postMessage("busy");
    if (step % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function stream(to: SenderTicket<Uint8Array>): Promise<void> {
  const sender = Sender.open(to);
  const writer = sender.writer({ chunk: 3 });
  for (let index = 1;; index++) {
    const message = new Uint8Array(index * 997 % 4097).fill(index);
    if (index % 3 === 0) await sender.send(message);
    else writer.push(message);
    if (index === 20) scope.postMessage("busy");
  }
}

scope.onmessage = async ({ data }) => {
  try {
    if (data.job === "produce") produce(data);
    else if (data.job === "pass") await pass(data);
    else if (data.job === "churn") await churn(data);
    else if (data.job === "stream") await stream(data.to);
    else if (data.job === "hold") {
      const slabs = Pool.open(data.pool);
      kept.push(slabs);
      for (let index = 0; index < data.count; index++) kept.push(slabs.allocSync());
      scope.postMessage("held");
      return;
    } else if (data.job === "transfer") {
      const memory = Pool.open(data.pool).allocSync().bytes.fill(1).buffer;
      scope.postMessage(memory, [memory]);
      return;
    } else if (data.job === "peek") {
      const receiver = Receiver.open(data.from);
      kept.push(receiver);
      const window = receiver.readable() as unknown as ArrayLike<unknown> & {
        at(index: number): unknown;
      };
      window.at(0);
      scope.postMessage(window.length);
      return;
    } else {
      using slabs = Pool.open(data.pool);
      slabs.free(data.handle);
    }
    scope.postMessage("done");
  } catch (error) {
    const { name, message, code } = error as Error & { code?: string };
    scope.postMessage({ name, message, code });
  }
};
