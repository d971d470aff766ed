/**
 * Tickets that are issued for a Worker: taken back when it ends before it has opened them.
 */

import assert from "node:assert/strict";
import test from "node:test";
import { Worker as NodeWorker } from "node:worker_threads";
import { mpmc, mpsc, Pool, pool, Sender, spmc, type TicketOptions, u32 } from "../mod.ts";
import { isPending, rejectionOf, throws, until, within } from "./support/bounded.ts";
import { collect } from "./support/channels.ts";
import { runChild } from "./support/runtime.ts";

type AnyWorker = NonNullable<TicketOptions["worker"]> & { terminate(): unknown };

/** Workers of both kinds, from source text. */
const make: Record<string, (code: string) => AnyWorker> = {
  web(code) {
    const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
    const worker = new Worker(url, { type: "module" });
    worker.onerror = (event) => event.preventDefault?.();
    return worker;
  },
  node(code) {
    const worker = new NodeWorker(code, { eval: true });
    worker.on("error", () => {});
    return worker;
  },
};

/** Ways of a Worker to end without having opened anything. */
const endings: Record<string, { code: string; end?: (worker: AnyWorker) => unknown }> = {
  "throws when it starts": { code: `throw new Error("no configuration")` },
  "cannot load a module": { code: `import("./there-is-none.js")` },
  "throws later": { code: `setTimeout(() => { throw new Error("no configuration") }, 1)` },
  "is terminated": { code: `setInterval(() => {}, 1000)`, end: (worker) => worker.terminate() },
};

const ticketUsed = { name: "TicketError", code: "TICKET_USED" };

for (const [kind, start] of Object.entries(make)) {
  for (const [ending, { code, end }] of Object.entries(endings)) {
    test(`a channel does not wait for the ticket of a ${kind} Worker that ${ending}`, async () => {
      using channel = mpsc(u32);
      using receiver = channel.receiver();
      const worker = start(code);
      const tickets = [channel.senderTicket({ worker }), channel.senderTicket({ worker })];
      {
        using sender = Sender.open(channel.senderTicket());
        sender.trySend(1);
      }
      const all = collect(receiver);
      await end?.(worker);
      assert.deepEqual(await all, [1]);
      for (const ticket of tickets) throws(() => Sender.open(ticket), ticketUsed);
      assert.equal(channel.closed, true);
      await worker.terminate();
    });
  }

  test(`a receiver's ticket, and a pool's, are taken back with the ${kind} Worker they are for`, async () => {
    const channel = spmc(u32);
    using slabs = pool({ slab: 64, count: 1 });
    const worker = start(`setInterval(() => {}, 1000)`);
    channel.receiverTicket({ worker });
    const ofPool = slabs.ticket({ worker });
    channel.sender().trySend(1);
    const disposal = channel[Symbol.asyncDispose]();
    assert.ok(await isPending(disposal));
    await worker.terminate();
    await within(disposal, "the disposal of the channel");
    // With the channel's: both were the Worker's.
    throws(() => Pool.open(ofPool), ticketUsed);
  });

  test(`a ticket that a ${kind} Worker's end comes too late for stays what it was`, async () => {
    using channel = mpsc(u32);
    using receiver = channel.receiver();
    const worker = start(`setInterval(() => {}, 1000)`);
    using sender = Sender.open(channel.senderTicket({ worker }));
    const disposed = mpsc(u32);
    disposed.senderTicket({ worker });
    disposed[Symbol.dispose]();
    const pending = receiver.receive();
    await worker.terminate();
    assert.ok(await isPending(pending));
    await sender.send(7);
    assert.equal(await pending, 7);
    // It is known to have ended: a ticket for it is taken back at once.
    await until(() => isTakenBackAtOnce(worker), "the end of the Worker is known");
  });
}

function isTakenBackAtOnce(worker: AnyWorker): boolean {
  using channel = mpsc(u32);
  const ticket = channel.senderTicket({ worker });
  return !channel.revoke(ticket);
}

test("senders that wait in a Worker's stead are told when the last receiver's ticket is taken back", async () => {
  using channel = mpmc(u32, { capacity: 1 });
  const worker = make.node?.(`setInterval(() => {}, 1000)`) as AnyWorker;
  const receiver = channel.receiver();
  channel.receiverTicket({ worker });
  using sender = channel.sender();
  sender.trySend(1);
  const send = sender.send(2);
  receiver.close();
  assert.ok(await isPending(send));
  await worker.terminate();
  assert.match(String(await rejectionOf(send)), /closed/);
});

test("a Worker has one listener however many tickets it gets, and terminate() is its own again at the end", async () => {
  const node = new NodeWorker(`setInterval(() => {}, 1000)`, { eval: true });
  const web = make.web?.(`setInterval(() => {}, 1000)`) as Worker;
  const { terminate } = web;
  using channel = mpsc(u32, { maxSenders: 4096 });
  using _keep = channel.sender();
  const before = node.listenerCount("exit");
  for (let count = 0; count < 200; count++) {
    for (const worker of [node, web]) Sender.open(channel.senderTicket({ worker })).close();
  }
  assert.equal(node.listenerCount("exit"), before + 1);
  await node.terminate();
  await until(() => node.listenerCount("exit") <= before, "the listener is taken away");
  web.terminate();
  assert.equal(web.terminate, terminate);
});

test("a ticket for a Worker does not keep the process alive", async () => {
  const child = await runChild("child_bound.ts");
  assert.equal(child.code, 0, `${child.signal} ${child.stderr}`);
  assert.equal(child.stdout.trim(), "the end");
});

test("a ticket for what is no Worker is refused, and none is issued", () => {
  using channel = mpsc(u32);
  using slabs = pool({ slab: 64, count: 1 });
  const notWorker = { name: "TypeError", message: /worker must be a Worker, received / };
  for (const worker of [null, 1, {}, channel, "worker.ts", new EventTarget()] as never[]) {
    throws(() => channel.senderTicket({ worker }), notWorker);
    throws(() => channel.receiverTicket({ worker }), notWorker);
    throws(() => slabs.ticket({ worker }), notWorker);
  }
  throws(() => channel.senderTicket(7 as never), { name: "TypeError", message: /options must be/ });
  channel.sender().close();
  assert.equal(channel.closed, true);
});
