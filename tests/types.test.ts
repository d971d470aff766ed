/**
 * Types, held by the type checker: functions over endpoints of any layout of a value.
 */

import assert from "node:assert/strict";
import test from "node:test";
import {
  type Channel,
  json,
  mpsc,
  Receiver,
  type ReceiverTicket,
  Sender,
  type SenderTicket,
  struct,
  u32,
  u64,
  utf8,
} from "../mod.ts";

function produce(sender: Sender<number>): void {
  assert.ok(sender.trySend(1));
}

function consume(receiver: Receiver<number>): number {
  return receiver.receiveBatch(8).length;
}

function both(channel: Channel<number>): number {
  const sender = channel.sender();
  produce(sender);
  sender.close();
  return consume(channel.receiver());
}

test("a function over a sender, receiver, channel or ticket of numbers takes those of any layout of numbers", () => {
  assert.equal(both(mpsc(u32)), 1);
  assert.equal(both(mpsc(json<number>())), 1);
  using channel = mpsc(u32);
  const tickets: [SenderTicket<number>, ReceiverTicket<number>] = [
    channel.senderTicket(),
    channel.receiverTicket(),
  ];
  const sender = Sender.open(tickets[0]);
  const receiver = Receiver.open(tickets[1]);
  produce(sender);
  assert.equal(consume(receiver), 1);
  sender.close();
  receiver.close();
  // @ts-expect-error: a channel of texts is none of numbers
  using _texts: Channel<number> = mpsc(utf8);
  // @ts-expect-error: nor is one of bigints
  using _bigints: Channel<number> = mpsc(u64);
});

test("a sender of bigints or structs needs no second type argument either", () => {
  const sendBig = (sender: Sender<bigint>) => sender.trySend(1n);
  const sendPoint = (sender: Sender<{ x: number }>) => {
    sender.reserve(1)?.set(0, { x: 7 });
    sender.commit();
  };
  using bigints = mpsc(u64);
  using points = mpsc(struct({ x: u32 }));
  assert.ok(sendBig(bigints.sender()));
  sendPoint(points.sender());
  assert.deepEqual(points.receiver().receiveBatch(1), [{ x: 7 }]);
});
