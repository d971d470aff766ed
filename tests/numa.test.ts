import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import test, { after } from "node:test";
import {
  type Channel,
  currentCpu,
  currentNode,
  type HugePagesError,
  mpmc,
  mpsc,
  numa,
  type NumaError,
  type NumaNode,
  pinThread,
  Receiver,
  type RegionPlacement,
  Sender,
  type Share,
  u32,
  u64,
  unpin,
  utf8,
} from "../mod.ts";
import { refusalOf, until, within } from "./support/bounded.ts";
import type { Step, StepAnswer } from "./support/child_place.ts";
import { type Child, runChild, startChild } from "./support/runtime.ts";
import { whereabouts } from "./support/worker_tasks.ts";
import { TestWorker, type WorkerKind, workerKinds } from "./support/workers.ts";

/** Nodes with CPUs and memory this process may use. */
const nodes = numa.topology().nodes.filter(({ cpus, allowed }) => cpus.length > 0 && allowed);

const firstNode = nodes[0] as NumaNode;
const lastNode = nodes.at(-1) as NumaNode;
const capacity = 1 << 16;

/** Why nothing can be placed: a container, perhaps, that has the kernel refuse it. */
const cannotPlace = (() => {
  try {
    mpsc(u32, { node: firstNode.node, numa: "require" })[Symbol.dispose]();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
})();
const needsTwo = cannotPlace ||
  (nodes.length < 2 ? `this machine has ${nodes.length} node` : false);
const ringBytes = capacity * 4;

const listed = (text: string) =>
  text.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    assert.equal((error as Error).name, "NumaError", String(error));
    return (error as NumaError).code;
  }
  assert.fail("nothing was thrown");
}

/** A directory like `/sys`, with these files of `devices/system/node`. */
function forged<Result>(files: Record<string, string>, use: (root: string) => Result): Result {
  const root = mkdtempSync(join(tmpdir(), "millrace-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      const path = join(root, "devices/system/node", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    return use(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/**
 * Pages of this process that lie under a policy of their own, by node: the kernel's account of it,
 * past the library.
 */
function pagesUnderPolicy(): { policies: string[]; nodes: Record<string, number> } {
  const nodes: Record<string, number> = {};
  const policies = new Set<string>();
  for (const line of readFileSync("/proc/self/numa_maps", "utf8").split("\n")) {
    const [, policy = "default"] = line.split(" ");
    if (!/^(bind|prefer)\b/.test(policy)) continue;
    policies.add(policy);
    for (const [, node = "", pages] of line.matchAll(/ N(\d+)=(\d+)/g)) {
      nodes[node] = (nodes[node] ?? 0) + Number(pages);
    }
  }
  return { policies: [...policies].sort(), nodes };
}

/** Every page that was touched is on the node. */
function assertOn(region: RegionPlacement | undefined, node: number): void {
  assert.ok(region !== undefined);
  assert.equal(region.refusal, undefined);
  assert.equal(region.wanted, node);
  const touched = region.pages - region.untouched;
  assert.ok(touched > 0);
  assert.deepEqual(region.nodes, { [node]: touched });
}

test("topology() tells every CPU of this process, the memory and the distances", () => {
  const { nodes, problems } = numa.topology();
  assert.deepEqual(problems, []);
  const status = readFileSync("/proc/self/status", "utf8");
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "";
  const cpus = nodes.flatMap(({ cpus }) => cpus).sort((a, b) => a - b);
  assert.deepEqual(cpus, listed(allowed));
  for (const [index, { node, memoryBytes, freeBytes, distances }] of nodes.entries()) {
    assert.ok(freeBytes <= memoryBytes);
    assert.equal(distances.length, nodes.length);
    assert.equal(distances[index], 10, `node ${node}`);
  }
  assert.ok(nodes.some(({ node }) => node === currentNode()));
});

test("topology() reads what a machine of several nodes has", () => {
  const files = {
    online: "0,2\n",
    "node0/cpulist": "0\n",
    "node0/meminfo": "\nNode 0 MemTotal: 2048 kB\nNode 0 MemFree: 1024 kB\n",
    "node0/distance": "10 21\n",
    "node2/cpulist": "\n",
    "node2/meminfo": "\nNode 2 MemTotal: 4096 kB\nNode 2 MemFree: 0 kB\n",
    "node2/distance": "21 10\n",
  };
  const { nodes, problems } = forged(files, (root) => numa.topology({ root }));
  assert.deepEqual(problems, []);
  const usable = numa.topology().nodes.some(({ cpus }) => cpus.includes(0));
  const allowed = readFileSync("/proc/self/status", "utf8").match(/^Mems_allowed_list:\s*(\S+)$/m);
  const memories = listed(allowed?.[1] ?? "");
  assert.deepEqual(nodes, [
    {
      node: 0,
      cpus: usable ? [0] : [],
      memoryBytes: 2 ** 21,
      freeBytes: 2 ** 20,
      distances: [10, 21],
      allowed: memories.includes(0),
    },
    {
      node: 2,
      cpus: [],
      memoryBytes: 2 ** 22,
      freeBytes: 0,
      distances: [21, 10],
      allowed: memories.includes(2),
    },
  ]);
});

test("topology() tolerates and reports what is missing or malformed", () => {
  const { nodes, problems } = forged({
    online: "0-1\n",
    "node0/cpulist": "0-x\n",
    "node0/meminfo": "nothing\n",
    "node0/distance": "20 10 10\n",
  }, (root) => {
    const { nodes, problems } = numa.topology({ root });
    return {
      nodes,
      problems: problems.map((text) => text.replace(`${root}/devices/system/node/`, "")),
    };
  });
  assert.deepEqual(problems, [
    "node0/cpulist is malformed",
    "node0/meminfo is malformed",
    "node1/cpulist is missing",
    "node1/meminfo is missing",
    "node0/distance is malformed",
    "node1/distance is missing",
  ]);
  assert.deepEqual(nodes.map(({ distances }) => distances), [[10, 20], [20, 10]]);
  assert.deepEqual(nodes.map(({ cpus }) => cpus), [[], []]);
});

test("topology() of a system that tells of no nodes is one node with all CPUs", () => {
  for (const online of [undefined, "", "0-\n", "5-2"]) {
    const { nodes, problems } = forged(
      online === undefined ? {} : { online },
      (root) => numa.topology({ root }),
    );
    assert.equal(nodes.length, 1);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", /node\/online is (missing|malformed)$/);
    assert.equal(nodes[0]?.node, 0);
    const all = numa.topology().nodes.flatMap(({ cpus }) => cpus).sort((a, b) => a - b);
    assert.deepEqual(nodes[0]?.cpus, all);
  }
});

test("topology() refuses a root that is no path", () => {
  for (const root of [7, null]) {
    assert.throws(() => numa.topology({ root: root as unknown as string }), TypeError);
  }
  assert.throws(() => numa.topology({ root: "a\0b" }), RangeError);
});

/**
 * Workers of these tests. They are kept: on an emulated machine starting one takes seconds.
 */
const crews: Record<WorkerKind, TestWorker[]> = { web: [], node: [] };

function crew(kind: WorkerKind, count: number): TestWorker[] {
  const workers = crews[kind];
  while (workers.length < count) workers.push(new TestWorker(kind));
  return workers.slice(0, count);
}

for (const kind of workerKinds) {
  test(`pinThread() holds for its own Worker alone, and unpin() undoes it (${kind} Worker)`, async () => {
    const [other] = crew("web", 1) as [TestWorker];
    const pinned = (kind === "web" ? crew("web", 2)[1] : crew("node", 1)[0]) as TestWorker;
    const before = await pinned.call("whereabouts");
    const otherBefore = await other.call("whereabouts");
    const ownBefore = whereabouts().affinity;
    for (const { node, cpus } of nodes) {
      for (const cpu of cpus) {
        assert.deepEqual(await pinned.call("pin", { cpu }), { cpu, node, affinity: `${cpu}` });
      }
      const on = await pinned.call("pin", { node });
      assert.equal(on.node, node);
      assert.deepEqual(listed(on.affinity), cpus);
    }
    assert.equal((await other.call("whereabouts")).affinity, otherBefore.affinity);
    assert.equal(whereabouts().affinity, ownBefore);
    assert.equal((await pinned.call("pin", undefined)).affinity, before.affinity);
  });
}

test("a Worker started by a pinned thread inherits the pin, and unpin() frees it", async () => {
  const cpu = lastNode.cpus.at(-1) as number;
  const before = whereabouts().affinity;
  pinThread({ cpu });
  try {
    assert.equal(currentCpu(), cpu);
    assert.equal(currentNode(), lastNode.node);
    // What the process may use is not what this thread may.
    assert.deepEqual(
      numa.topology().nodes.flatMap(({ cpus }) => cpus).length,
      listed(before).length,
    );
    await using worker = new TestWorker("node");
    assert.equal((await worker.call("whereabouts")).affinity, `${cpu}`);
    assert.equal((await worker.call("pin", undefined)).affinity, before);
  } finally {
    unpin();
  }
  assert.equal(whereabouts().affinity, before);
  unpin(); // nothing to undo
  assert.equal(whereabouts().affinity, before);
});

test("pinThread() refuses CPUs and nodes that do not exist, and what is neither", () => {
  const before = whereabouts().affinity;
  assert.equal(codeOf(() => pinThread({ cpu: 8191 })), "NO_SUCH_CPU");
  assert.equal(codeOf(() => pinThread({ cpu: 2 ** 31 })), "NO_SUCH_CPU");
  assert.equal(codeOf(() => pinThread({ node: 1023 })), "NO_SUCH_NODE");
  assert.equal(codeOf(() => pinThread({ node: 2 ** 31 })), "NO_SUCH_NODE");
  for (const cpu of [-1, 0.5, NaN, "0", null, 2 ** 32]) {
    assert.throws(() => pinThread({ cpu: cpu as number }), { name: refusalOf(cpu) });
    assert.throws(() => pinThread({ node: cpu as number }), { name: refusalOf(cpu) });
  }
  for (const options of [undefined, null, {}, { cpu: 0, node: 0 }, 3]) {
    assert.throws(() => pinThread(options as { cpu: number }), TypeError);
  }
  assert.equal(whereabouts().affinity, before);
});

/** What child_numa.ts has to tell, which is asked once. */
let childAnswer: Promise<Record<string, unknown>> | undefined;

function askChild(): Promise<Record<string, unknown>> {
  return childAnswer ??= (async () => {
    const cpus = nodes.flatMap(({ cpus }) => cpus);
    const parameters = [`${cpus[0]}`, `${cpus.at(-1)}`];
    const child = await runChild("child_numa.ts", parameters, { limitMs: 60_000 });
    assert.equal(child.code, 0, child.stderr);
    return JSON.parse(child.stdout);
  })();
}

test("pinThread() refuses a CPU that the process's affinity leaves out", {
  skip: nodes.flatMap(({ cpus }) => cpus).length < 2 && "this machine has one CPU",
}, async () => {
  const { affinity } = await askChild();
  const [first] = firstNode.cpus;
  assert.deepEqual(affinity, { cpus: [first], code: "CPU_NOT_ALLOWED", affinity: `${first}` });
});

for (const [name, code] of [["EPERM", "NUMA_REFUSED"], ["ENOSYS", "NUMA_UNSUPPORTED"]] as const) {
  test(`where a seccomp filter answers ${name} to mbind, "require" throws and "prefer" goes on`, async () => {
    const told = (await askChild())[name] as {
      required: string[];
      received: unknown;
      regions: RegionPlacement[];
      pinned: string[];
    };
    assert.deepEqual(told.required, [code, code, code]);
    assert.deepEqual(told.received, { state: "ok", value: 7 });
    assert.equal(told.regions.length, 2);
    for (const region of told.regions) {
      assert.equal(region.numa, "prefer");
      assert.equal(region.refusal, code);
      assert.equal(region.nodes, undefined);
    }
    assert.deepEqual(told.pinned, ["NUMA_REFUSED", "NUMA_REFUSED"]);
  });
}

for (const shared of [false, true]) {
  const kind = shared ? "a memfd" : "anonymous memory";

  test(
    `the ring of a pinned sender lies on its node, over ${kind}`,
    { skip: cannotPlace },
    async () => {
      const workers = crew("web", nodes.length);
      for (const mode of ["prefer", "require"] as const) {
        using channel = mpsc(u32, { capacity, shared });
        using receiver = channel.receiver({ node: firstNode.node, numa: "require" });
        const total: Record<number, number> = {};
        const tickets = nodes.map(() => channel.senderTicket());
        for (const [index, { node }] of nodes.entries()) {
          const worker = workers[index] as TestWorker;
          assert.equal((await worker.call("pin", { node })).node, node);
          const ticket = tickets[index] as (typeof tickets)[0];
          await worker.call("openSender", ticket, { node: "local", numa: mode });
          if (mode === "require") assert.equal(channel.placement().rings.at(-1)?.untouched, 0);
          // The whole ring, so that every page is touched.
          await worker.call("send", "sendAll", new Uint32Array(capacity).fill(node) as never);
          const ring = channel.placement().rings.at(-1);
          assertOn(ring, node);
          assert.equal(ring?.numa, mode);
          assert.equal(ring?.untouched, 0);
          assert.equal(ring?.pages, ringBytes / 4096 + 1);
          total[node] = (total[node] ?? 0) + (ring?.pages ?? 0);
        }
        const { control } = channel.placement();
        assertOn(control, firstNode.node);
        total[firstNode.node] = (total[firstNode.node] ?? 0) + control.pages;
        const kernel = pagesUnderPolicy();
        assert.deepEqual(kernel.nodes, total);
        const policy = mode === "require" ? "bind" : "prefer";
        const policies = nodes.map(({ node }) => `${policy}:${node}`);
        policies.push(`bind:${firstNode.node}`);
        assert.deepEqual(kernel.policies, [...new Set(policies)].sort());
        // Everything arrives, from either node.
        for (const worker of workers) await worker.call("closeSender");
        const received: Record<number, number> = {};
        for await (const batch of receiver.batches()) {
          for (const node of batch) received[node] = (received[node] ?? 0) + 1;
        }
        assert.deepEqual(received, Object.fromEntries(nodes.map(({ node }) => [node, capacity])));
      }
      for (const worker of workers) await worker.call("pin", undefined);
    },
  );
}

test("a consumer on another node receives every message", { skip: needsTwo }, async () => {
  const [producer, consumer] = crew("web", 2) as [TestWorker, TestWorker];
  await consumer.call("pin", { node: lastNode.node });
  await producer.call("pin", { node: firstNode.node });
  for (const shared of [false, true]) {
    using channel = mpsc(u32, { capacity: 1024, shared, numa: "require" });
    await consumer.call("openReceiver", channel.receiverTicket());
    await producer.call("openSender", channel.senderTicket());
    const values = Array.from({ length: 20_000 }, (_, index) => index);
    const received = consumer.call("receiveRest", "batches");
    await producer.call("send", "sendAll", values);
    const { control, rings } = channel.placement();
    assertOn(control, lastNode.node);
    assertOn(rings[0], firstNode.node);
    await producer.call("closeSender");
    assert.deepEqual(await received, values);
    await consumer.call("closeReceiver");
  }
  for (const worker of [consumer, producer]) await worker.call("pin", undefined);
});

test("a node that does not exist is refused if required, and told if preferred", {
  skip: cannotPlace,
}, () => {
  using channel = mpsc(u32, { capacity });
  const ticket = channel.senderTicket();
  const nowhere = { node: 1000 } as const;
  assert.equal(codeOf(() => Sender.open(ticket, { ...nowhere, numa: "require" })), "NO_SUCH_NODE");
  assert.equal(codeOf(() => channel.sender({ node: 2 ** 31, numa: "require" })), "NO_SUCH_NODE");
  assert.equal(codeOf(() => channel.receiver({ ...nowhere, numa: "require" })), "NO_SUCH_NODE");
  assert.equal(codeOf(() => mpsc(u32, { ...nowhere, numa: "require" })), "NO_SUCH_NODE");
  assert.equal(channel.stats().senders, 0);
  assert.equal(channel.placement().rings.length, 0);
  // The ticket is as good as it was, and so is the channel.
  using sender = Sender.open(ticket, nowhere);
  using receiver = channel.receiver(nowhere);
  sender.trySend(7);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 7 });
  const { control, rings } = channel.placement();
  for (const region of [control, rings[0] as RegionPlacement]) {
    assert.equal(region.numa, "prefer");
    assert.equal(region.wanted, 1000);
    assert.equal(region.refusal, "NO_SUCH_NODE");
    assert.ok(Object.values(region.nodes ?? {}).reduce((sum, pages) => sum + pages, 0) > 0);
  }
});

test('without options nothing is placed, and numa: "off" overrides', () => {
  using plain = mpsc(u32, { capacity });
  using sender = plain.sender();
  using off = plain.sender({ node: firstNode.node, numa: "off" });
  using receiver = plain.receiver();
  using local = mpsc(u32, { capacity, numa: "off" });
  using overruled = local.sender({ node: "local" });
  using asked = local.sender({ node: "local", numa: "prefer" });
  for (const each of [sender, off, overruled, asked]) each.trySend(1);
  assert.equal(receiver.receiveBatch(2).length, 2);
  const modes = (channel: typeof plain) => channel.placement().rings.map(({ numa }) => numa);
  assert.deepEqual(modes(plain), ["off", "off"]);
  assert.deepEqual(modes(local), ["off", "prefer"]);
  assert.equal(plain.placement().control.numa, "off");
  assert.equal(plain.placement().control.wanted, undefined);
});

test("options about nodes that cannot be are refused", () => {
  using channel = mpsc(u32, { capacity: 8 });
  const ticket = channel.senderTicket();
  const attempts = (options: unknown) => [
    () => channel.sender(options as { node: number }),
    () => channel.receiver(options as { node: number }),
    () => Sender.open(ticket, options as { node: number }),
  ];
  for (const node of [-1, 1.5, NaN, "here", null, 2 ** 32 - 1, {}]) {
    for (const attempt of attempts({ node })) assert.throws(attempt, { name: refusalOf(node) });
    assert.throws(() => mpsc(u32, { node: node as number }), { name: refusalOf(node) });
  }
  for (const numa of ["always", "toString", null, 1]) {
    for (const attempt of attempts({ numa })) assert.throws(attempt, TypeError);
    assert.throws(() => mpsc(u32, { numa: numa as "off" }), TypeError);
  }
  for (const options of [7, "local", null]) {
    for (const attempt of attempts(options)) assert.throws(attempt, TypeError);
  }
  for (const shared of [1, "yes", null] as unknown[]) {
    assert.throws(() => mpsc(u32, { shared: shared as boolean }), TypeError);
  }
  Sender.open(ticket).close();
});

/** Emulated, a child process takes its time to start. */
const childLimitMs = 120_000;
const isRoot = process.getuid?.() === 0;
/** A user without privileges; nobody needs to know of it. */
const stranger = 65_000;

/** Resolves when no ring of a drained channel has a sender, and each can have another. */
async function givenBack(
  channel: Channel<number, Uint32Array>,
  receiver: Receiver<number, Uint32Array>,
  share: Share | undefined,
): Promise<void> {
  const isGone = () => channel.stats().senders === 0 && (share?.connections ?? 0) === 0;
  await until(isGone, "the sender has gone", childLimitMs);
  // A ring is another's once its receiver has found it drained.
  assert.equal(receiver.tryReceive().state, "empty");
}

let lastAddress = 0;

function freshAddress(): string {
  return `@millrace-numa-${process.pid}-${lastAddress++}`;
}

let other: Child | undefined;
let asked = 0;
after(() => other?.end());

/** Has another process do steps, and gives what came of them; it has what it opened until it is asked again. */
async function askOther(steps: readonly Step[]): Promise<StepAnswer[]> {
  const child = startOther();
  child.write(`${JSON.stringify(steps)}\n`);
  const round = ++asked;
  await within(child.said(`end of ${round}\n`), "the other process's answers", childLimitMs);
  const answers = new RegExp(`^(.*)\nend of ${round}\n`, "m").exec(child.output())?.[1];
  if (answers === undefined) assert.fail((await child.ended).stderr);
  return JSON.parse(answers);
}

/** One for all tests: emulated, it takes seconds to start. */
function startOther(): Child {
  return other ??= startChild("child_place.ts", [], { limitMs: 2 * childLimitMs, hasInput: true });
}

test("what another process connects lies where it says, or the channel does", {
  skip: cannotPlace,
}, async () => {
  using stack = new DisposableStack();
  const steps: Step[] = [];
  const checks: ((answer: StepAnswer) => void)[] = [];
  const plan = (step: Step, check: (answer: StepAnswer) => void) => {
    steps.push(step);
    checks.push(check);
  };
  const shared = (options: Parameters<typeof mpsc>[1]) => {
    const channel = stack.use(mpsc(u32, { capacity, shared: true, ...options }));
    const address = freshAddress();
    stack.use(channel.share(address, { users: [stranger] }));
    return { channel, address };
  };
  const planSender = (node: number, numa: "prefer" | "require", isLocal = false) => {
    const { channel, address } = shared(isLocal ? { numa } : {});
    const options = isLocal ? {} : { node, numa };
    plan({ connect: "sender", address, options, count: capacity }, (answer) => {
      assert.deepEqual(answer, { outcome: "open" });
      const [ring] = channel.placement().rings;
      assertOn(ring, node);
      assert.equal(ring?.numa, numa);
      assert.equal(ring?.untouched, 0);
      const receiver = stack.use(channel.receiver());
      let received = 0;
      while (received < capacity) received += receiver.receiveBatch(capacity).length;
    });
  };
  for (const { node } of nodes) {
    for (const numa of ["prefer", "require"] as const) planSender(node, numa);
    plan({ pin: node }, () => {});
    planSender(node, "require", true);
  }
  {
    const { channel, address } = shared({});
    const nowhere = { node: 1000, numa: "require" } as const;
    plan({ connect: "sender", address, options: nowhere }, (answer) => {
      assert.deepEqual(answer, { outcome: "NumaError", code: "NO_SUCH_NODE" });
    });
    plan({ connect: "receiver", address, options: nowhere }, (answer) => {
      assert.deepEqual(answer, { outcome: "NumaError", code: "NO_SUCH_NODE" });
    });
    const options = { node: 1000 };
    plan({ connect: "receiver", address, options }, (answer) => {
      assert.deepEqual(answer, { outcome: "open" });
      assert.equal(channel.placement().control.refusal, "NO_SUCH_NODE");
    });
    plan({ connect: "sender", address, options, count: 1 }, (answer) => {
      assert.deepEqual(answer, { outcome: "open" });
      const ring = channel.placement().rings.at(-1); // the one that was refused may still be there
      assert.deepEqual([ring?.numa, ring?.wanted], ["prefer", 1000]);
      assert.equal(ring?.refusal, "NO_SUCH_NODE");
    });
  }
  // The keeper uses what a receiver writes as well, so only a privileged process moves it.
  const planReceiver = (node: number, moves: boolean) => {
    const { channel, address } = shared({ node: firstNode.node, numa: "require" });
    const isThere = moves || node === firstNode.node;
    const options = { node, numa: "require" } as const;
    plan({ connect: "receiver", address, options }, (answer) => {
      const refused = { outcome: "NumaError", code: "NUMA_REFUSED" };
      assert.deepEqual(answer, isThere ? { outcome: "open" } : refused);
      assertOn(channel.placement().control, isThere ? node : firstNode.node);
    });
  };
  const isPrivileged = isRoot && process.env.MILLRACE_TEST_NUMA === "1";
  if (isPrivileged) { for (const { node } of nodes) planReceiver(node, true); }
  if (isRoot) plan({ user: stranger }, () => {});
  for (const { node } of nodes) {
    for (const numa of ["prefer", "require"] as const) planSender(node, numa);
    planReceiver(node, false);
  }

  const answers = await askOther(steps);
  assert.equal(answers.length, steps.length);
  for (const [index, check] of checks.entries()) check(answers[index] as StepAnswer);
  assert.deepEqual(await askOther([]), []); // it closes them
});

test("connect() refuses options about nodes that cannot be, before it asks anybody", async () => {
  const nobody = freshAddress();
  for (const side of [Sender, Receiver]) {
    for (const node of [-1, 1.5, NaN, "here", null, 2 ** 32 - 1]) {
      await assert.rejects(side.connect(nobody, { node: node as number }), {
        name: refusalOf(node),
      });
    }
    for (const numa of ["always", "toString", null, 1]) {
      await assert.rejects(side.connect(nobody, { numa: numa as "off" }), TypeError);
    }
  }
});

test("a tenant without a wish has nothing of the last one's, whichever process either is in", {
  skip: cannotPlace,
}, async () => {
  const none = pagesUnderPolicy().policies;
  for (const shared of [false, true]) {
    using channel = mpsc(u32, { capacity, maxSenders: 1, shared });
    using receiver = channel.receiver();
    const address = freshAddress();
    const ticket = channel.senderTicket(); // the channel stays open between two senders
    const openers: ((options: object) => Promise<Sender<number, Uint32Array>>)[] = [
      (options) => Promise.resolve(channel.sender(options)),
    ];
    const share = shared ? channel.share(address, { receivers: false }) : undefined;
    if (shared) {
      openers.push((options) => Sender.connect(address, { layout: u32, ...options }));
    }
    for (const first of openers) {
      for (const second of openers) {
        for (const options of [{ node: lastNode.node, numa: "require" }, {}]) {
          const sender = await ("node" in options ? first : second)(options);
          sender.trySend(7);
          const [ring] = channel.placement().rings;
          if ("node" in options) assertOn(ring, options.node as number);
          else assert.equal(ring?.wanted, undefined);
          const policies = "node" in options ? [`bind:${lastNode.node}`] : none;
          assert.deepEqual(pagesUnderPolicy().policies, policies);
          assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 7 });
          sender.close();
          await givenBack(channel, receiver, share);
        }
      }
    }
    assert.equal(channel.revoke(ticket), true);
  }
});

test("a connected sender that is refused its node gives the ring back", {
  skip: cannotPlace,
}, async () => {
  using channel = mpsc(u32, { capacity, maxSenders: 1, shared: true });
  using receiver = channel.receiver();
  const address = freshAddress();
  using share = channel.share(address, { receivers: false });
  const refused = Sender.connect(address, { node: 1000, numa: "require" });
  await assert.rejects(refused, { name: "NumaError", code: "NO_SUCH_NODE" });
  await givenBack(channel, receiver, share);
  using sender = await Sender.connect(address, { node: lastNode.node, numa: "require" });
  sender.trySend(7);
  assertOn(channel.placement().rings[0], lastNode.node);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 7 });
});

const cgroups = "/sys/fs/cgroup";

/** Makes a cgroup whose processes may use the memory of one node alone. */
function makeCpuset(node: number): string {
  const directory = join(cgroups, `millrace-test-${process.pid}`);
  writeFileSync(join(cgroups, "cgroup.subtree_control"), "+cpuset");
  mkdirSync(directory);
  writeFileSync(join(directory, "cpuset.mems"), `${node}`);
  return directory;
}

/** Why there can be no cpuset. */
const cannotConfine = needsTwo || (() => {
  try {
    rmdirSync(makeCpuset(firstNode.node));
    return false;
  } catch (error) {
    return `there is no cpuset to be had: ${(error as Error).message}`;
  }
})();

test("a node outside of the cpuset is refused if required, and told if preferred", {
  skip: cannotConfine,
}, async () => {
  using stack = new DisposableStack();
  const channel = stack.use(mpsc(u32, { capacity: 1024, shared: true }));
  const address = freshAddress();
  stack.use(channel.share(address, { users: [stranger] }));
  const outside = { node: lastNode.node, numa: "require" } as const;
  const preferred = { node: lastNode.node } as const;
  const inside = { node: firstNode.node, numa: "require" } as const;
  const steps: Step[] = [
    { open: "channel", options: outside },
    { open: "sender", options: outside },
    { open: "receiver", options: outside },
    { connect: "sender", address, options: outside },
    { connect: "receiver", address, options: outside },
    { open: "sender", options: inside },
    { open: "sender", options: preferred },
    { open: "receiver", options: preferred },
    { connect: "sender", address, options: preferred, count: 1 },
  ];
  const { pid } = startOther();
  const directory = makeCpuset(firstNode.node);
  try {
    writeFileSync(join(directory, "cgroup.procs"), `${pid}`);
    const answers = await askOther(steps);
    const refused = { outcome: "NumaError", code: "NODE_NOT_ALLOWED" };
    const told = { outcome: "open", refusal: "NODE_NOT_ALLOWED" };
    assert.deepEqual(answers, [
      ...Array(5).fill(refused),
      { outcome: "open" },
      told,
      told,
      { outcome: "open" },
    ]);
    const ring = channel.placement().rings.at(-1);
    assert.deepEqual(
      [ring?.numa, ring?.wanted, ring?.refusal],
      ["prefer", lastNode.node, "NODE_NOT_ALLOWED"],
    );
    assert.deepEqual(await askOther([]), []);
  } finally {
    writeFileSync(join(cgroups, "cgroup.procs"), `${pid}`);
    rmdirSync(directory);
  }
});

test("a ring that gets another tenant moves to its node", { skip: cannotPlace }, () => {
  for (const shared of [false, true]) {
    using channel = mpsc(u32, { capacity, maxSenders: 1, shared });
    using receiver = channel.receiver();
    const waiting = [channel.senderTicket(), channel.senderTicket(), channel.senderTicket()];
    const values = new Uint32Array(capacity).fill(7);
    const tenants = [
      { node: firstNode.node },
      { node: lastNode.node, numa: "require" },
      {},
    ] as const;
    for (const [index, options] of tenants.entries()) {
      {
        using sender = Sender.open(waiting[index] as (typeof waiting)[0], options);
        assert.equal(sender.sendBatch(values), capacity);
        const [ring] = channel.placement().rings;
        if ("node" in options) assertOn(ring, options.node);
        else assert.equal(ring?.wanted, undefined);
      }
      let received = 0;
      while (received < capacity) received += receiver.receiveBatch(capacity).length;
      assert.equal(receiver.tryReceive().state, index === tenants.length - 1 ? "closed" : "empty");
    }
  }
});

test("a channel's node is where its control block is, until a receiver says otherwise", {
  skip: cannotPlace,
}, () => {
  using channel = mpsc(u32, { capacity, node: lastNode.node, numa: "require", latency: true });
  assertOn(channel.placement().control, lastNode.node);
  using receiver = channel.receiver();
  assertOn(channel.placement().control, lastNode.node);
  receiver.close();
  using moved = mpsc(u32, { capacity, node: lastNode.node });
  using _ = moved.receiver({ node: firstNode.node });
  assertOn(moved.placement().control, firstNode.node);
});

test(
  "of receivers that share a channel the first that asks decides where",
  { skip: cannotPlace },
  () => {
    using channel = mpmc(u32, { capacity, maxReceivers: 3 });
    using _first = channel.receiver();
    assert.equal(channel.placement().control.wanted, undefined);
    using _second = channel.receiver({ node: lastNode.node });
    using _third = channel.receiver({ node: firstNode.node, numa: "require" });
    assertOn(channel.placement().control, lastNode.node);
  },
);

test("a receiver that is refused leaves everything where it is", { skip: cannotPlace }, () => {
  using channel = mpsc(u32, { capacity });
  using _ = channel.receiver({ node: firstNode.node });
  const ticket = channel.receiverTicket();
  assert.throws(() => Receiver.open(ticket, { node: lastNode.node }), { code: "RECEIVER_TAKEN" });
  assertOn(channel.placement().control, firstNode.node);
});

const small = nodes.toSorted((a, b) => a.memoryBytes - b.memoryBytes)[0] as NumaNode;
const tooLarge = 2 ** 32;
const cannotFill = needsTwo ||
  (small.memoryBytes > tooLarge && "its nodes are too large to be filled");

test(
  "what is required of a full node is refused, and nobody is killed",
  { skip: cannotFill },
  () => {
    const { node, memoryBytes } = small;
    const ringBytes = 2 ** 27;
    const full = { node, numa: "require" } as const;
    using stack = new DisposableStack();
    for (const shared of [false, true]) {
      // What is free does not tell what can be had: the kernel gives caches up as well. So rings are put
      // there until it gives none any more. The other nodes have room for the one that is refused.
      for (let count = 0;; count++) {
        assert.ok(count <= memoryBytes / ringBytes, "the node holds more than it has");
        const channel = stack.use(
          mpsc(u64, { capacity: ringBytes / 8, maxSenders: 2, hugePages: "try", shared }),
        );
        const ticket = channel.senderTicket();
        try {
          stack.use(Sender.open(ticket, full));
          continue;
        } catch (error) {
          assert.equal((error as NumaError).code, "NODE_OUT_OF_MEMORY");
        }
        // It is too much for the node, not for the ticket.
        using sender = Sender.open(ticket, { ...full, numa: "prefer" });
        using receiver = channel.receiver();
        assert.equal(sender.trySend(5n), true);
        assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 5n });
        const [placed] = channel.placement().rings;
        assert.deepEqual([placed?.wanted, placed?.refusal], [node, undefined]);
        // What was touched for the refused one was given back; a huge page may be there again.
        assert.ok(placed !== undefined && placed.pages - placed.untouched <= 1024);
        break;
      }
    }
  },
);

test("a channel over a memfd carries every layout, and ends as any other", async () => {
  const before = segmentsOpen();
  {
    using channel = mpsc(utf8, { capacity: 4096, shared: true, latency: true });
    const [worker] = crew("web", 1) as [TestWorker];
    await worker.call("openSender", channel.senderTicket());
    const values = Array.from({ length: 500 }, (_, index) => `message ${index} `.repeat(index % 9));
    const sent = worker.call("send", "send", values).then(() => worker.call("closeSender"));
    const receiver = channel.receiver();
    assert.deepEqual(await Array.fromAsync(receiver), values);
    await sent;
    receiver.close();
  }
  assert.equal(segmentsOpen(), before);
});

test("the memory of a channel over a memfd reads as zeros once a view of it escaped", () => {
  const before = segmentsOpen();
  const channel = mpsc(u32, { capacity: 1024, shared: true });
  const sender = channel.sender();
  const receiver = channel.receiver();
  sender.sendBatch([1, 2, 3]);
  const buffer = receiver.readable()?.buffer as ArrayBuffer;
  const escaped = new Uint32Array(structuredClone(buffer, { transfer: [buffer] }));
  assert.deepEqual([...escaped.subarray(0, 3)], [1, 2, 3]);
  receiver.close();
  sender.close();
  channel[Symbol.dispose]();
  assert.equal(segmentsOpen(), before);
  assert.ok(escaped.length === 1024 && escaped.every((value) => value === 0));
});

/** Descriptors of segments that this process has open. */
function segmentsOpen(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("memfd:millrace");
    } catch {
      return false; // that of the directory itself
    }
  }).length;
}

// ---- huge pages ----

const hugeBytes = 2 ** 21;
const hugeCapacity = hugeBytes / 4;

/** Whether the system gives private memory huge pages that asks for them. */
function hasHugePages(): boolean {
  try {
    const enabled = readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8");
    return !enabled.includes("[never]");
  } catch {
    return false;
  }
}

/**
 * Bytes in huge pages, of the mappings of this process that were advised to have them (`hg`), or not to
 * (`nh`): what the runtime has elsewhere comes and goes.
 */
function bytesInHugePages(advice: "hg" | "nh"): number {
  let sum = 0;
  let ofMapping = 0;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [, kilobytes] = /^(?:AnonHugePages|ShmemPmdMapped): +(\d+) kB$/.exec(line) ?? [];
    if (kilobytes !== undefined) ofMapping += Number(kilobytes) * 1024;
    if (!line.startsWith("VmFlags:")) continue;
    if (line.split(" ").includes(advice)) sum += ofMapping;
    ofMapping = 0;
  }
  return sum;
}

for (const shared of [false, true]) {
  const kind = shared ? "a memfd" : "anonymous memory";

  test(`hugePages: "require" has a ring lie in huge pages, or throws, over ${kind}`, {
    skip: cannotPlace,
  }, () => {
    using channel = mpsc(u32, {
      capacity: hugeCapacity,
      shared,
      hugePages: "require",
      maxSenders: 2,
    });
    const ticket = channel.senderTicket();
    const before = bytesInHugePages("hg");
    let sender;
    try {
      sender = Sender.open(ticket, { node: lastNode.node, numa: "require" });
    } catch (error) {
      assert.equal((error as HugePagesError).name, "HugePagesError");
      assert.equal((error as HugePagesError).code, "HUGE_PAGES_UNAVAILABLE");
      assert.equal(channel.revoke(ticket), true);
      assert.ok(shared || !hasHugePages(), "there are huge pages");
      return;
    }
    assert.equal(bytesInHugePages("hg"), before + hugeBytes);
    using receiver = channel.receiver();
    const values = Uint32Array.from({ length: hugeCapacity }, (_, index) => index);
    assert.equal(sender.sendBatch(values), hugeCapacity);
    assert.deepEqual(receiver.receiveBatch(hugeCapacity), values);
    assertOn(channel.placement().rings[0], lastNode.node);
    sender.close();
  });

  test(`hugePages: "try" and "off" work wherever they are, over ${kind}`, () => {
    for (const hugePages of ["try", "off"] as const) {
      for (const size of [8, hugeCapacity]) {
        using channel = mpsc(u32, { capacity: size, shared, hugePages });
        using sender = channel.sender();
        using other = channel.sender({ node: "local" });
        using receiver = channel.receiver();
        const values = new Uint32Array(size).fill(3);
        assert.equal(sender.sendBatch(values) + other.sendBatch(values), 2 * size);
        if (hugePages === "off") assert.equal(bytesInHugePages("nh"), 0);
        assert.equal(receiver.receiveBatch(size).length, size);
      }
    }
  });
}

/** Mappings of segments that were advised to have huge pages (`hg`), or not to (`nh`). */
function segmentsAdvised(advice: "hg" | "nh"): number {
  const mappings = readFileSync("/proc/self/smaps", "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return mappings.filter((text) =>
    text.includes("memfd:millrace") && /^VmFlags:.*$/m.exec(text)?.[0].split(" ").includes(advice)
  ).length;
}

test("hugePages: a process that connects advises its own mapping, and requires in it", async () => {
  for (const [hugePages, advice] of [["off", "nh"], ["try", "hg"]] as const) {
    using channel = mpsc(u32, { capacity: hugeCapacity, shared: true, hugePages });
    const address = freshAddress();
    channel.share(address);
    assert.equal(segmentsAdvised(advice), 0);
    using sender = await Sender.connect(address, { layout: u32 });
    assert.equal(segmentsAdvised(advice), 1);
    assert.equal(sender.trySend(3), true);
  }
  using channel = mpsc(u32, { capacity: hugeCapacity, shared: true, hugePages: "require" });
  using receiver = channel.receiver();
  const address = freshAddress();
  using share = channel.share(address, { receivers: false });
  const before = bytesInHugePages("hg");
  let sender;
  try {
    sender = await Sender.connect(address, { layout: u32 });
  } catch (error) {
    assert.equal((error as HugePagesError).name, "HugePagesError");
    assert.equal((error as HugePagesError).code, "HUGE_PAGES_UNAVAILABLE");
    await until(() => share.connections === 0, "the ring is given back", childLimitMs);
    return;
  }
  assert.equal(bytesInHugePages("hg"), before + hugeBytes);
  const values = Uint32Array.from({ length: hugeCapacity }, (_, index) => index);
  assert.equal(sender.sendBatch(values), hugeCapacity);
  assert.deepEqual(receiver.receiveBatch(hugeCapacity), values);
  sender.close();
});

test("hugePages: a word that is none, and a ring too small to require them, are refused", () => {
  for (const hugePages of ["yes", true, null, "system"]) {
    assert.throws(() => mpsc(u32, { hugePages: hugePages as "try" }), TypeError);
  }
  assert.throws(() => mpsc(u32, { capacity: 1024, hugePages: "require" }), RangeError);
});
