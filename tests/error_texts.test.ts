/**
 * Every error of the library says what could not be done, what was expected, what was received, and what
 * to do. The places where errors are made are read from the sources: one that no case here meets, and
 * that is not told below where it is met, fails.
 */

import assert from "node:assert/strict";
import test from "node:test";
import { Status } from "../ffi/abi.ts";
import {
  bytes,
  Channel,
  custom,
  f64,
  json,
  mpmc as createMpmc,
  mpsc as createMpsc,
  numa,
  pinThread,
  Pool,
  pool as createPool,
  Receiver,
  select,
  selectSync,
  Sender,
  spsc,
  struct,
  u32,
  u64,
  utf8,
} from "../mod.ts";
import { describe } from "../src/describe.ts";
import { layoutDifference } from "../src/layout_difference.ts";
import type { LayoutSpec } from "../src/layout.ts";
import { errorOf } from "../src/native.ts";
import { observeChannel } from "../src/opentelemetry.ts";
import { prometheusText } from "../src/prometheus.ts";
import { within } from "./support/bounded.ts";
import { type ErrorSite, errorSites } from "./support/error_sites.ts";

type Any = never;

/** What the cases make, so that nothing of it is garbage collected while others run. */
const made: Disposable[] = [];

function kept<Parameters extends unknown[], Made extends Disposable>(
  make: (...parameters: Parameters) => Made,
): (...parameters: Parameters) => Made {
  return (...parameters) => {
    const one = make(...parameters);
    made.push(one);
    return one;
  };
}

const mpsc: typeof createMpsc = kept(createMpsc as unknown as () => Disposable) as Any;
const mpmc: typeof createMpmc = kept(createMpmc as unknown as () => Disposable) as Any;
const pool: typeof createPool = kept(createPool);

/** Each ends with an error of its own. */
const cases: (() => unknown)[] = [
  // ---- channels ----
  () => mpsc(undefined as Any),
  () => mpsc(u32, 7 as Any),
  () => mpsc(u32, { latency: 1 as Any }),
  () => mpsc(u32, { capacity: "8" as Any }),
  () => mpsc(u32, { capacity: 0 }),
  () => spsc(u32, { maxSenders: 2 } as Any),
  () => mpsc(u32, { wait: "nap" as Any }),
  () => mpsc(u32, { onReceiverDeath: "wait" }),
  () => mpsc(u32, { hugePages: "require" }),
  () => new Channel("bus" as Any, u32),
  () => mpsc(utf8).withPool({} as Any),
  () => mpsc(u32).withPool(pool({ slab: 64, count: 1 })),
  () => {
    const channel = mpsc(utf8);
    channel.sender();
    channel.withPool(pool({ slab: 64, count: 1 }));
  },
  () => mpsc(utf8).withPool(pool({ slab: 64, count: 1 })).nativeReceiverTicket(),
  () => mpsc(u32).share("@millrace-error-texts"),
  () =>
    mpsc(pool({ slab: 64, count: 1 }).layout(), { shared: true }).share("@millrace-error-texts"),
  () => mpsc(u32).revoke({} as Any),
  () => {
    const channel = mpsc(u32);
    channel[Symbol.dispose]();
    channel.sender();
  },
  () => mpsc(u32).stats({ since: 7 as Any }),
  () => mpsc(u32).stats({ since: { timeMs: "now" } as Any }),
  () => mpsc(u32).stats({ since: { ...mpsc(u32).stats(), sent: 7 } }),
  () => mpsc(u32, { latency: true }).stats({ since: mpsc(u32).stats() }),

  // ---- layouts and values ----
  () => custom({ name: "", encode: undefined, decode: undefined } as Any),
  () => custom({ name: "test/texts" } as Any),
  () => {
    const layout = custom({ name: "test/texts", encode: () => 7 as Any, decode: () => 7 });
    mpsc(layout).sender().trySend(1);
  },
  () => struct(7 as Any),
  () => struct({}),
  () => struct({ ["__proto__"]: u32 }),
  () => struct({ a: utf8 as Any }),
  () => mpsc(struct({ a: u32 })).sender().trySend(7 as Any),
  () => mpsc(struct({ a: u32 })).sender().trySend({ a: "7" } as Any),
  () => mpsc(struct({ a: u32 })).sender().reserve(1)?.set(1 as Any, { a: 1 } as Any),
  () => mpsc(u32).sender().trySend("7" as Any),
  () => mpsc(u32).sender().trySend(-1),
  () => mpsc(u64).sender().trySend(7 as Any),
  () => mpsc(bytes).sender().trySend("7" as Any),
  () => mpsc(utf8).sender().trySend(7 as Any),
  () => mpsc(json as Any).sender().trySend(undefined as Any),
  () => mpsc(utf8, { capacity: 64 }).sender().trySend("x".repeat(64)),
  () => mpsc(pool({ slab: 64, count: 1 }).layout()).sender().trySend({} as Any),
  () => mpsc(pool({ slab: 64, count: 1 }).layout()).sender().reserve(1),
  () => {
    const sender = mpsc(json as Any).sender();
    sender.trySend({ toJSON: () => sender.trySend("inner" as Any) } as Any);
  },

  // ---- senders ----
  () => {
    const sender = mpsc(u32).sender();
    sender.close();
    sender.trySend(1);
  },
  () => {
    const channel = mpsc(u32);
    const sender = channel.sender();
    channel.close();
    return sender.send(1);
  },
  () => mpsc(u32).sender().send(1, { signal: 7 as Any }),
  () => mpsc(u32).sender().sendBatch(7 as Any),
  () => mpsc(u32).sender().sendAllSync([1], { onSent: 7 as Any }),
  () => mpsc(u32).sender().commit(1),
  () => {
    const sender = mpsc(u32).sender();
    sender.reserve(1);
    sender.commit(2);
  },
  () => mpsc(u32).sender().forceSend(1),
  () => mpmc(pool({ slab: 64, count: 1 }).layout()).sender().forceSend({} as Any),
  () => mpsc(u32).sender().sendSync(1, { wait: "timed" }),
  () => {
    const sender = mpsc(u32, { capacity: 1 }).sender();
    sender.trySend(1);
    sender.sendSync(2, { timeout: 1 });
  },
  () => {
    const sender = mpsc(u32, { capacity: 1 }).sender();
    sender.trySend(1);
    return sender.send(2, { timeout: 1 });
  },

  () => {
    const weak = mpsc(u32).weakSender();
    weak.close();
    weak.upgrade();
  },

  // ---- receivers ----
  () => {
    const receiver = mpsc(u32).receiver();
    receiver.close();
    receiver.tryReceive();
  },
  () => {
    const receiver = mpsc(u32).receiver();
    const receive = receiver.receive();
    receiver.close();
    return receive;
  },
  () => {
    const channel = mpsc(u32);
    const receiver = channel.receiver();
    channel.close();
    return receiver.receive();
  },
  () => {
    const receiver = mpsc(u32).receiver();
    receiver.run(() => {});
    receiver.tryReceive();
  },
  () => {
    const receiver = mpsc(u32).receiver();
    receiver.receive().catch(() => {});
    receiver.run(() => {});
  },
  () => {
    const receiver = mpsc(u32).receiver();
    receiver.receive().catch(() => {});
    receiver.eventFd().arm();
  },
  () => mpsc(u32).receiver().run(7 as Any),
  () => mpsc(u32).receiver().receiveBatch("7" as Any),
  () => {
    const channel = mpsc(u32);
    channel.sender().trySend(1);
    channel.receiver().receiveBatch(new Float32Array(1) as Any);
  },
  () => {
    const slabs = pool({ slab: 64, count: 1 });
    const channel = mpsc(slabs.layout());
    channel.sender().trySend(slabs.tryAlloc() as Any);
    channel.receiver().receiveBatch(new Float32Array(1) as Any);
  },
  () => mpsc(u32).receiver().release(1),
  () => {
    const slabs = pool({ slab: 64, count: 1 });
    const channel = mpsc(slabs.layout());
    channel.sender().trySend(slabs.tryAlloc() as Any);
    channel.receiver().peek();
  },
  () => select(7 as Any),
  () => select([7 as Any]),
  () => selectSync([]),
  () => selectSync([new AbortController().signal] as Any),
  () => {
    const channel = mpmc(u32, { maxReceivers: 64 });
    const others = mpmc(u32, { maxReceivers: 64 });
    const receivers = Array.from({ length: 64 }, () => channel.receiver());
    selectSync([...receivers, others.receiver()]);
  },

  // ---- tickets ----
  () => Sender.open(7 as Any),
  () => Sender.open(mpsc(u32).receiverTicket() as Any),
  () => Sender.open({ millrace: "sender" } as Any),
  () => Sender.open({ ...mpsc(u32).senderTicket(), wait: "nap" } as Any),
  () => Sender.open({ ...mpsc(u32).senderTicket(), layout: { kind: "u33" } } as Any),
  () => Sender.open({ ...mpsc(u32).senderTicket(), layout: { kind: "f64" } } as Any),
  () => Receiver.open({ ...mpsc(u32).receiverTicket(), layout: { kind: "f64" } } as Any),
  () =>
    Sender.open({ ...mpsc(utf8).senderTicket(), layout: { kind: "custom", name: "none" } } as Any),
  () => mpsc(u32).senderTicket({ worker: 7 as Any }),

  // ---- pools ----
  () => pool({ slab: 0, count: 1 }),
  () => Pool.open(7 as Any),
  () => Pool.open({ millrace: "pool" } as Any),
  () => Pool.open({ ...pool({ slab: 64, count: 1 }).ticket(), wait: "nap" } as Any),
  () => pool({ slab: 64, count: 1 }).share("@millrace-error-texts"),
  () => pool({ slab: 64, count: 1 }).revoke({} as Any),
  () => pool({ slab: 64, count: 1 }).free({} as Any),
  () => pool({ slab: 64, count: 1 }).tryAlloc(65),
  () => {
    const slabs = pool({ slab: 64, count: 1 });
    slabs.close();
    slabs.tryAlloc();
  },
  () => {
    const slabs = pool({ slab: 64, count: 1 });
    slabs.tryAlloc();
    const waiting = slabs.alloc();
    slabs.close();
    return waiting;
  },

  // ---- other processes, nodes, metrics ----
  () => mpsc(u32, { shared: true }).share(7 as Any),
  () => mpsc(u32, { shared: true }).share(""),
  () => mpsc(u32, { shared: true }).share({ fd: 2 ** 30 }),
  () => mpsc(u32, { shared: true }).share("@millrace-error-texts", { users: 7 as Any }),
  () => mpsc(u32, { shared: true }).share("@millrace-error-texts", { users: Array(33).fill(1) }),
  () =>
    mpsc(u32, { shared: true }).share("@millrace-error-texts", {
      senders: false,
      receivers: false,
    }),
  async () => {
    using channel = mpsc(struct({ a: u32, b: f64 }), { shared: true });
    using _share = channel.share("@millrace-error-texts-layout");
    await Sender.connect("@millrace-error-texts-layout", { layout: struct({ a: u32, b: u64 }) });
  },
  () => numa.topology({ root: 7 as Any }),
  () => numa.topology({ root: "a\0b" }),
  () => pinThread({} as Any),
  () => observeChannel({} as Any, mpsc(u32), { name: "a" }),
  () => observeChannel({ addBatchObservableCallback() {} } as Any, mpsc(u32), 7 as Any),
  () => prometheusText(7 as Any),
  () => prometheusText({ a: 7 as Any }),
  () => prometheusText({ a: pool({ slab: 64, count: 1 }) as Any }),
  () => observeChannel({ addBatchObservableCallback() {} } as Any, mpsc(u32), { name: 7 as Any }),
];

/** What is met elsewhere, or cannot be met by a public call: by file and the beginning of its text. */
const elsewhere: Record<string, readonly string[]> = {
  // Made of what is passed in; every check that uses them is met above.
  "src/check.ts": ["…", "Cannot …: … must be …, received …"],
  "src/scalar.ts": ["…"],
  "src/reason.ts": ["…", "Cannot …: the process at the other side"], // process_death.test.ts
  "src/sender.ts": ["…"],
  "src/ticket.ts": ["…", "Cannot open the ticket: expected the pool of the channel"], // a cause
  // What another process says: process_connect.test.ts, process_pool.test.ts, hostile.test.ts.
  "src/connect.ts": ["Cannot …: …", "Cannot connect: expected the pool of the channel"],
  "src/dial.ts": [
    "Cannot …: the other side did not answer",
    "Cannot …: what the other side says",
    "Cannot …: the description of its layout",
  ],
  "src/pool.ts": [
    "Cannot …: another process made this pool",
    "Cannot allocate a slab: the process that made the pool is gone",
    "Cannot open the pool of a channel: the other side has sent none",
    "Cannot open the pool of a channel: the ticket was altered",
  ],
  // Two copies of the module, or memory that was transferred away: copies.test.ts, errors.test.ts.
  "src/endpoint.ts": [
    "Cannot …: expected a ticket of the native library",
    "Cannot use the channel: the buffer",
  ],
  "src/layout_of.ts": ["Cannot open the ticket: expected the kind of a layout"], // a cause
  "src/layout.ts": ["Cannot use a layout: expected one of this copy"],
  "src/send_queue.ts": ["Cannot send all: expected … values until all are sent"],
  "src/typed_array.ts": ["Cannot …: expected a typed array with its memory"],
  // Codes of programs that misbehave: layout.test.ts, iteration.test.ts, pool.test.ts.
  "src/consumer.ts": ["Cannot receive: the layout's own decode"],
  "src/pooled.ts": ["Cannot send: encode() gave more bytes"],
  "src/producer.ts": ["Cannot send: encode() gave more bytes"],
  "src/readable_stream.ts": ["Cannot make a stream of bytes"],
  "src/struct.ts": [
    "Cannot send as a struct: expected another field", // for the type checker: the line above it throws
    "Cannot make a struct: the fields must be an array", // of a ticket
  ],
  "src/metrics.ts": ["Cannot …: a name must be a string"],
  "src/native.ts": ["Cannot …: the native library answered"],
  "src/weak_sender.ts": ["Cannot …: another process made the channel"],
  "src/select.ts": ["Cannot …: waited … ms"], // select.test.ts
  "src/wait_strategy.ts": ["Cannot …: …"], // DeadlockError: deadlock.test.ts
  // Libraries and platforms: load.test.ts.
  "ffi/deno.ts": ["Cannot"],
  "ffi/load.ts": ["Cannot", "{Cannot"],
  "ffi/platform.ts": ["Cannot"],
};

const builtIn = new Set(["TypeError", "RangeError"]);

/** What is an end, and no mistake: nothing is to be done about it. */
const ends = /^Cannot \w[^:]*: (the channel is closed|waited \S+ ms)/;

/** What a message must say, by what kind of error it is. */
function holdText(name: string, code: string | undefined, message: string): void {
  const told = `${name}: ${message}`;
  assert.match(message, /^Cannot \w/, `what could not be done: ${told}`);
  assert.match(message, /: \S/, `why: ${told}`);
  assert.doesNotMatch(message, /\ba [AEIOaeio]\w|\ban? (?=$|[ ,.;])/, `its article: ${told}`);
  assert.doesNotMatch(message, /from (\S+) to \1\b/, `a range of one: ${told}`);
  if (ends.test(message)) return;
  const saysWhatToDo = /; \S/.test(message);
  if (builtIn.has(name)) {
    const isOfValue = /received |needs a /.test(message);
    assert.ok(isOfValue || saysWhatToDo, `what was received, or what to do: ${told}`);
    if (isOfValue) {
      assert.match(message, /expected|must|at most|needs/, `what was expected: ${told}`);
    }
  } else {
    assert.ok(saysWhatToDo || /received /.test(message), `what to do: ${told}`);
    assert.match(code ?? "", /^[A-Z_]+$/, `its code: ${told}`);
  }
}

/** Whether a message can come from there. */
function comesFrom({ text }: ErrorSite, message: string): boolean {
  const pattern = text.split(/…|\{[^}]*\}/)
    .map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
    .join("[^]*");
  return new RegExp(`^${pattern}$`).test(message);
}

test("every place where the library makes an error is met by a case, and its text says what it must", async () => {
  const messages: [name: string, message: string][] = [];
  using stack = new DisposableStack();
  stack.defer(() => made.splice(0).forEach((one) => one[Symbol.dispose]()));
  for (const [index, make] of cases.entries()) {
    let error: unknown;
    try {
      await within(Promise.resolve(make()), `case ${index}, ${make}`);
    } catch (thrown) {
      error = thrown;
    }
    assert.ok(error instanceof Error, `case ${index}, ${make}: nothing was thrown`);
    holdText(error.name, (error as { code?: string }).code, error.message);
    messages.push([error.name, error.message]);
  }
  const unmet = errorSites().filter((site) => {
    const told = elsewhere[site.file] ?? [];
    if (told.some((text) => text === "…" ? site.text === "…" : site.text.startsWith(text))) {
      return false;
    }
    return !messages.some(([name, message]) => name === site.name && comesFrom(site, message));
  });
  assert.deepEqual(unmet, [], "each needs a case above, or its place in the table");
  for (const site of errorSites()) {
    if (!/^(…|Cannot …: …|Cannot …: … must be .*)$/.test(site.text) && !site.text.startsWith("{")) {
      holdText(site.name, site.code?.replace("…", "A") ?? "A", site.text.replaceAll("…", "X"));
    }
  }
});

/** Answers that no error is made of: each is told where it is met. */
const answers = new Set(["ended", "invalidArgument", "poolEmpty", "tooSmall", "wouldBlock"]);

test("every answer of the native library has a class, a code, and a text that says what to do", () => {
  const codes = new Set<string>();
  for (const [name, status] of Object.entries(Status)) {
    if (status >= 0 || answers.has(name)) continue;
    const error = errorOf(status, "do this") as Error & { code?: string };
    holdText(error.name, error.code, error.message);
    assert.notEqual(error.code, "INTERNAL", name);
    assert.match(error.message, /^Cannot do this: [^;]+; [^;]+$/, name);
    assert.ok(!codes.has(`${error.name} ${error.code}`), `${error.code} is told twice`);
    codes.add(`${error.name} ${error.code}`);
  }
});

test("an error names what it received shortly, with its article, whatever that is", () => {
  function* generate() {}
  async function* generateLater() {}
  class UnknownThing {}
  const long = "x".repeat(101);
  const named: [value: unknown, name: string][] = [
    [undefined, "undefined"],
    [null, "null"],
    [7, "7"],
    ["7", '"7"'],
    [7n, "7n"],
    [true, "true"],
    [Symbol("a"), "Symbol(a)"],
    [() => {}, "a function"],
    [{}, "an object"],
    [Object.create(null), "an object"],
    [[], "an empty array"],
    [[1], "an array"],
    [new ArrayBuffer(1), "an ArrayBuffer"],
    [new Uint8Array(1), "a Uint8Array"],
    [new Int8Array(1), "an Int8Array"],
    [new Map(), "a Map"],
    [new URL("a:b"), "a URL"],
    [new UnknownThing(), "an UnknownThing"],
    [new Error("no"), "an Error"],
    [generate(), "a Generator"],
    [generateLater(), "an AsyncGenerator"],
    [long, 'a string of 101 characters that begins with "xxxxxxxxxxxxxxxxxxxx"'],
    [10n ** 100n, "a bigint of 102 characters"],
    [
      new Proxy({}, {
        getPrototypeOf() {
          throw new Error("no");
        },
      }),
      "an object that throws when it is looked at",
    ],
  ];
  for (const [value, name] of named) assert.equal(describe(value), name);
});

test("connect() says in which field two layouts differ", () => {
  const inner = { kind: "struct", fields: [["c", { kind: "u8" }]] } as const;
  const whole: LayoutSpec = { kind: "struct", fields: [["a", { kind: "u32" }], ["b", inner]] };
  const differences: [LayoutSpec, string | undefined][] = [
    [whole, undefined],
    [{ kind: "u32" }, "its values are u32, expected a struct of 2 fields"],
    [
      { kind: "custom", name: "x" },
      'its values are the custom layout "x", expected a struct of 2 fields',
    ],
    [
      { kind: "struct", fields: [["a", { kind: "f32" }], ["b", inner]] },
      "its field a is f32, expected u32",
    ],
    [
      { kind: "struct", fields: [["a", { kind: "u32" }]] },
      "it lacks the field b (a struct of 1 field)",
    ],
    [
      { kind: "struct", fields: [...whole.fields, ["d", { kind: "i8" }]] },
      "it has the field d (i8), which was not expected",
    ],
    [
      { kind: "struct", fields: [["a", { kind: "u32" }], ["z", { kind: "u8" }]] },
      "its field number 2 is z (u8), expected b (a struct of 1 field)",
    ],
    [
      {
        kind: "struct",
        fields: [["a", { kind: "u32" }], ["b", {
          kind: "struct",
          fields: [["c", { kind: "i8" }]],
        }]],
      },
      "its field b.c is i8, expected u8",
    ],
  ];
  for (const [theirs, expected] of differences) {
    assert.equal(layoutDifference(theirs, whole), expected);
  }
});
