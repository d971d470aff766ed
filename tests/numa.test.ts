import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import {
  currentCpu,
  currentNode,
  mpsc,
  numa,
  type NumaError,
  type NumaNode,
  pinThread,
  type RegionPlacement,
  u32,
  unpin,
} from "../mod.ts";
import { runChild } from "./support/runtime.ts";
import { whereabouts } from "./support/worker_tasks.ts";
import { TestWorker, workerKinds } from "./support/workers.ts";

/** Nodes with CPUs and memory this process may use. */
const nodes = numa.topology().nodes.filter(({ cpus, allowed }) => cpus.length > 0 && allowed);
const needsTwo = nodes.length < 2 ? `this machine has ${nodes.length} node` : false;
const firstNode = nodes[0] as NumaNode;
const lastNode = nodes.at(-1) as NumaNode;
const capacity = 1 << 16;
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
  for (const root of [7, null, "a\0b"]) {
    assert.throws(() => numa.topology({ root: root as string }), TypeError);
  }
});

for (const kind of workerKinds) {
  test(`pinThread() holds for its own Worker alone, and unpin() undoes it (${kind} Worker)`, async () => {
    await using pinned = new TestWorker(kind);
    await using other = new TestWorker(kind);
    const before = await pinned.call("whereabouts");
    const ownBefore = whereabouts().affinity;
    for (const { node, cpus } of nodes) {
      for (const cpu of cpus) {
        assert.deepEqual(await pinned.call("pin", { cpu }), { cpu, node, affinity: `${cpu}` });
      }
      const on = await pinned.call("pin", { node });
      assert.equal(on.node, node);
      assert.deepEqual(listed(on.affinity), cpus);
    }
    assert.equal((await other.call("whereabouts")).affinity, before.affinity);
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
    assert.throws(() => pinThread({ cpu: cpu as number }), RangeError);
    assert.throws(() => pinThread({ node: cpu as number }), RangeError);
  }
  for (const options of [undefined, null, {}, { cpu: 0, node: 0 }, 3]) {
    assert.throws(() => pinThread(options as { cpu: number }), TypeError);
  }
  assert.equal(whereabouts().affinity, before);
});

test("pinThread() refuses a CPU that the process's affinity leaves out", async () => {
  const [first] = firstNode.cpus;
  const cpus = nodes.flatMap(({ cpus }) => cpus);
  const other = cpus.find((cpu) => cpu !== first);
  if (other === undefined) return; // a machine of one CPU
  const child = await runChild("child_numa.ts", ["affinity", `${first}`, `${other}`]);
  assert.equal(child.code, 0, child.stderr);
  assert.deepEqual(JSON.parse(child.stdout), {
    cpus: [first],
    code: "CPU_NOT_ALLOWED",
    affinity: `${first}`,
  });
});

for (const shared of [false, true]) {
  const kind = shared ? "a memfd" : "anonymous memory";

  test(`the ring of a pinned sender lies on its node, over ${kind}`, async () => {
    using channel = mpsc(u32, { capacity, shared });
    using receiver = channel.receiver({ node: firstNode.node, numa: "require" });
    const total: Record<number, number> = {};
    const workers: TestWorker[] = [];
    try {
      for (const { node } of nodes) {
        for (const mode of ["prefer", "require"] as const) {
          const worker = new TestWorker("web");
          workers.push(worker);
          assert.equal((await worker.call("pin", { node })).node, node);
          await worker.call("openSender", channel.senderTicket(), { node: "local", numa: mode });
          // The whole ring, so that every page is touched.
          const values = Array.from({ length: capacity }, (_, index) => index);
          await worker.call("send", "sendAll", values);
          const ring = channel.placement().rings.at(-1);
          assertOn(ring, node);
          assert.equal(ring?.numa, mode);
          assert.equal(ring?.untouched, 0);
          assert.equal(ring?.pages, ringBytes / 4096 + 1);
          total[node] = (total[node] ?? 0) + (ring?.pages ?? 0);
        }
      }
      const { control } = channel.placement();
      assertOn(control, firstNode.node);
      total[firstNode.node] = (total[firstNode.node] ?? 0) + control.pages;
      const kernel = pagesUnderPolicy();
      assert.deepEqual(kernel.nodes, total);
      const policies = nodes.flatMap(({ node }) => [`bind:${node}`, `prefer:${node}`]).sort();
      assert.deepEqual(kernel.policies, policies);
      // Everything arrives, from either node.
      let received = 0;
      for (const worker of workers) await worker.call("closeSender");
      for await (const batch of receiver.batches()) received += batch.length;
      assert.equal(received, capacity * workers.length);
    } finally {
      for (const worker of workers) await worker[Symbol.asyncDispose]();
    }
  });
}

test("a consumer on another node receives every message", { skip: needsTwo }, async () => {
  for (const shared of [false, true]) {
    using channel = mpsc(u32, { capacity: 1024, shared, numa: "require" });
    await using consumer = new TestWorker("web");
    await using producer = new TestWorker("web");
    await consumer.call("pin", { node: lastNode.node });
    await producer.call("pin", { node: firstNode.node });
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
  }
});

for (
  const [name, errorNumber, code] of [["EPERM", 1, "NUMA_REFUSED"], [
    "ENOSYS",
    38,
    "NUMA_UNSUPPORTED",
  ]]
) {
  test(`where a seccomp filter answers ${name} to mbind, "require" throws and "prefer" goes on`, async () => {
    const child = await runChild("child_numa.ts", ["seccomp", `${errorNumber}`]);
    assert.equal(child.code, 0, child.stderr);
    const told = JSON.parse(child.stdout);
    assert.deepEqual(
      [told.required, told.requiredReceiver, told.requiredChannel],
      [code, code, code],
    );
    assert.deepEqual(told.received, { state: "ok", value: 7 });
    assert.equal(told.rings.length, 1);
    for (const region of [told.control, ...told.rings]) {
      assert.equal(region.numa, "prefer");
      assert.equal(region.refusal, code);
      assert.equal(region.nodes, undefined);
    }
    assert.deepEqual(told.pinned, ["NUMA_REFUSED", "NUMA_REFUSED"]);
  });
}
