import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import type { Meter } from "@opentelemetry/api";
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  type Channel,
  mpmc,
  mpsc,
  pool,
  type Receiver,
  type SenderTicket,
  u32,
  utf8,
} from "../mod.ts";
import { exportLatency } from "../src/metrics.ts";
import { observeChannel } from "../src/opentelemetry.ts";
import { prometheusContentType, prometheusText } from "../src/prometheus.ts";
import { throws } from "./support/bounded.ts";
import { range, takeAll } from "./support/channels.ts";
import { type Family, parseScrape } from "./support/prometheus_parser.ts";
import { TestWorker } from "./support/workers.ts";

/** What a scrape says of a metric, by its labels. */
function valuesOf(families: Family[], name: string): Record<string, number> {
  const found = families.filter((family) => family.name === name);
  assert.equal(found.length, 1, `${name} has one family`);
  return Object.fromEntries(
    (found[0] as Family).metrics.map(({ labels, value }) => [
      Object.entries(labels ?? {}).map(([key, text]) => `${key}=${text}`).sort().join(),
      Number(value),
    ]),
  );
}

/** Sends and receives through real Workers, so that the numbers are not trivial. */
async function work(
  channel: Channel<string>,
  receiver: Receiver<string>,
  senders: number,
  each: number,
): Promise<void> {
  const workers = range(senders).map(() => new TestWorker("node"));
  try {
    const tickets = workers.map(() => channel.senderTicket() as SenderTicket<unknown, unknown>);
    const sending = workers.map((worker, index) =>
      worker.call(
        "sendAndClose",
        tickets[index] as SenderTicket<unknown, unknown>,
        "writer",
        range(each).map(String),
      )
    );
    let count = 0;
    for await (const batch of receiver.batches()) {
      if ((count += batch.length) === senders * each) break;
    }
    await Promise.all(sending);
  } finally {
    for (const worker of workers) await worker[Symbol.asyncDispose]();
  }
}

test("prometheusText() is scraped over HTTP and parsed as what stats() says", async () => {
  using busy = mpsc(utf8, { capacity: 4096, latency: true });
  using idle = mpmc(u32, { capacity: 8 });
  using first = idle.sender();
  using second = idle.sender();
  first.sendBatch([1, 2, 3]);
  second.sendBatch([4]);
  // One ticket stays outstanding: or the channel ended with its last sender.
  busy.senderTicket();
  using receiver = busy.receiver();
  await work(busy, receiver, 2, 500);

  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-type": prometheusContentType });
    response.end(prometheusText({ busy, 'its \\name\\\n"quoted"': idle }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  let text: string;
  try {
    const { port } = server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    assert.equal(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    text = await response.text();
  } finally {
    server.close();
  }

  const families = parseScrape(text);
  const stats = busy.stats();
  const other = 'channel=its \\name\\\n"quoted"';
  const expected: Record<string, [busy: number, idle: number]> = {
    millrace_sent_messages_total: [1000, 4],
    millrace_received_messages_total: [1000, 0],
    millrace_redelivered_messages_total: [0, 0],
    millrace_dropped_messages_total: [0, 0],
    millrace_sent_bytes_total: [16_000, 16],
    millrace_received_bytes_total: [16_000, 0],
    millrace_sent_batches_total: [stats.commits, 2],
    millrace_received_batches_total: [stats.releases, 0],
    millrace_full_total: [stats.timesFull, 0],
    millrace_receivers: [1, 0],
    millrace_open: [1, 1],
    millrace_waiting_messages: [0, 4],
    millrace_used_slots: [0, 4],
    millrace_high_water_slots: [stats.highWater, 3],
    millrace_largest_batch_messages: [stats.largestBatch, 3],
  };
  for (const [name, [ofBusy, ofIdle]] of Object.entries(expected)) {
    assert.deepEqual(valuesOf(families, name), { "channel=busy": ofBusy, [other]: ofIdle }, name);
  }
  assert.equal(valuesOf(families, "millrace_senders")[other], 2);
  assert.deepEqual(
    Object.entries(valuesOf(families, "millrace_ring_used_slots"))
      .filter(([labels]) => labels.startsWith(other)),
    [[`${other},ring=0`, 3], [`${other},ring=1`, 1]],
  );
  assert.deepEqual(valuesOf(families, "millrace_sleeps_total"), {
    "channel=busy,side=sender": stats.timesSlept,
    "channel=busy,side=receiver": stats.receiverTimesSlept,
    [`${other},side=sender`]: 0,
    [`${other},side=receiver`]: 0,
  });

  // A histogram: only of the channel that tracks latency, in seconds.
  const { latency } = stats;
  assert.ok(latency !== undefined);
  assert.match(text, /^# TYPE millrace_latency_seconds histogram$/m);
  const counted = valuesOf(families, "millrace_latency_seconds_bucket");
  assert.deepEqual(Object.keys(counted).slice(0, 2), [
    "channel=busy,le=0.000001",
    "channel=busy,le=0.0000025",
  ]);
  assert.equal(Object.keys(counted).at(-1), "channel=busy,le=+Inf");
  const bounds = Object.keys(counted).map((labels) =>
    Number(labels.split("le=+").pop() === "Inf" ? Infinity : labels.split("le=").pop())
  );
  assert.deepEqual(bounds, bounds.toSorted((a, b) => a - b));
  assert.deepEqual(
    Object.values(counted),
    bounds.map((bound) =>
      latency.histogram.reduce((sum, { le, count }) => sum + (le / 1e6 <= bound ? count : 0), 0)
    ),
  );
  assert.equal(counted["channel=busy,le=+Inf"], 1000);
  assert.deepEqual(valuesOf(families, "millrace_latency_seconds_count"), { "channel=busy": 1000 });
  assert.deepEqual(valuesOf(families, "millrace_latency_seconds_sum"), {
    "channel=busy": latency.sum / 1e6,
  });
  assert.deepEqual(valuesOf(families, "millrace_latency_max_seconds"), {
    "channel=busy": latency.max / 1e6,
  });

  // Every family once, under its comments, and every line of the form the format allows.
  const sample = /^millrace_[a-z_]+\{channel="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z]+="[^"\\]*")?\} \S+$/;
  const named = new Set<string>();
  let family = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const [, kind, name = ""] = /^# (HELP|TYPE) (millrace_[a-z_]+) \S/.exec(line) ?? [];
    if (kind === "HELP") {
      assert.ok(!named.has(name), name);
      named.add(family = name);
    } else if (kind === "TYPE") assert.equal(name, family);
    else {
      assert.match(line, sample);
      assert.ok(line.startsWith(family), line);
    }
  }
  assert.equal(text.at(-1), "\n");
});

test("prometheusText() leaves a channel out that was disposed of", () => {
  const gone = mpsc(u32, { latency: true });
  using here = mpsc(u32);
  gone[Symbol.dispose]();
  const families = parseScrape(prometheusText({ gone, here }));
  assert.deepEqual(valuesOf(families, "millrace_senders"), { "channel=here": 0 });
  assert.equal(families.some(({ name }) => name.includes("latency")), false);
  assert.equal(prometheusText({ gone }), "");
  assert.equal(prometheusText({}), "");
});

test("prometheusText() tells of a latency of nothing as a histogram without messages", () => {
  using channel = mpsc(u32, { latency: true });
  const text = prometheusText({ channel });
  assert.match(text, /^millrace_latency_seconds_bucket\{channel="channel",le="0.001"\} 0$/m);
  assert.match(text, /^millrace_latency_seconds_bucket\{channel="channel",le="\+Inf"\} 0$/m);
  assert.match(text, /^millrace_latency_seconds_count\{channel="channel"\} 0$/m);
  assert.match(text, /^millrace_latency_seconds_sum\{channel="channel"\} 0$/m);
});

test("prometheusText() and observeChannel() throw TypeError for what is no channel", () => {
  using channel = mpsc(u32);
  type Channels = Parameters<typeof prometheusText>[0];
  for (const channels of [undefined, null, 7, { name: 7 }, { name: null }, { name: {} }]) {
    throws(() => prometheusText(channels as unknown as Channels), {
      name: "TypeError",
      message: /channel/,
    });
  }
  using slabs = pool({ slab: 64, count: 1 }); // has stats(), but those of a pool
  throws(() => prometheusText({ slabs } as unknown as Channels), {
    name: "TypeError",
    message: /expected a channel, received a Pool/,
  });
  const meter = new MeterProvider().getMeter("test");
  throws(() => observeChannel({} as Meter, channel, { name: "a" }), {
    name: "TypeError",
    message: /expected a meter, received/,
  });
  throws(() => observeChannel(undefined as unknown as Meter, channel, { name: "a" }), {
    name: "TypeError",
  });
  for (const options of [undefined, null, {}, { name: 7 }]) {
    throws(() => observeChannel(meter, channel, options as unknown as { name: string }), {
      name: "TypeError",
      message: /name/,
    });
  }
  throws(() => observeChannel(meter, {} as Channel<number>, { name: "a" }), {
    name: "TypeError",
    message: /expected a channel, received/,
  });
});

/** A meter, and what its reader collects: the value of every metric by its attributes. */
function collector() {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  return {
    meter: provider.getMeter("millrace-test"),
    async collect() {
      const { resourceMetrics, errors } = await reader.collect();
      assert.deepEqual(errors, []);
      return new Map(
        resourceMetrics.scopeMetrics.flatMap(({ metrics }) =>
          metrics.map(({ descriptor, dataPointType, dataPoints }) => [
            descriptor.name,
            {
              unit: descriptor.unit,
              isCounter: dataPointType === DataPointType.SUM,
              points: dataPoints.map(({ attributes, value }) => ({ attributes, value })),
            },
          ])
        ),
      );
    },
    async [Symbol.asyncDispose]() {
      await provider.shutdown();
    },
  };
}

test("observeChannel() gives a real OpenTelemetry SDK what stats() says, until it is ended", async () => {
  await using sdk = collector();
  using channel = mpsc(u32, { capacity: 8, latency: true });
  using other = mpsc(u32, { capacity: 8 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  const observation = observeChannel(sdk.meter, channel, {
    name: "orders",
    attributes: { region: "north" },
  });
  using _second = observeChannel(sdk.meter, other, { name: "other" });
  const common = { channel: "orders", region: "north" };

  sender.sendBatch([1, 2, 3]);
  const before = await sdk.collect();
  assert.deepEqual(before.get("millrace.sent.messages"), {
    unit: "{message}",
    isCounter: true,
    points: [{ attributes: common, value: 3 }, { attributes: { channel: "other" }, value: 0 }],
  });
  assert.deepEqual(before.get("millrace.waiting.messages"), {
    unit: "{message}",
    isCounter: false,
    points: [{ attributes: common, value: 3 }, { attributes: { channel: "other" }, value: 0 }],
  });
  assert.deepEqual(before.get("millrace.ring.used.slots")?.points, [
    { attributes: { ...common, ring: "0" }, value: 3 },
  ]);
  assert.deepEqual(before.get("millrace.sent.bytes"), {
    unit: "By",
    isCounter: true,
    points: [{ attributes: common, value: 12 }, { attributes: { channel: "other" }, value: 0 }],
  });
  assert.equal(
    before.get("millrace.latency.count")?.points[0]?.value,
    0,
    "nothing is measured yet",
  );
  assert.deepEqual(before.get("millrace.latency.max")?.points ?? [], []);

  assert.deepEqual(takeAll(receiver), [1, 2, 3]);
  const after = await sdk.collect();
  const { latency } = channel.stats();
  assert.ok(latency !== undefined);
  assert.deepEqual(after.get("millrace.received.messages")?.points[0]?.value, 3);
  const buckets = after.get("millrace.latency.bucket");
  assert.equal(buckets?.isCounter, true);
  assert.deepEqual(
    buckets.points.map(({ attributes }) => attributes["channel"]),
    Array(23).fill("orders"),
  );
  assert.deepEqual(
    buckets.points.map(({ attributes, value }) => [attributes["le"], value]),
    exportLatency(latency).buckets,
  );
  assert.deepEqual(buckets.points.at(-1)?.value, 3);
  assert.deepEqual(after.get("millrace.latency.sum"), {
    unit: "s",
    isCounter: true,
    points: [{ attributes: common, value: latency.sum / 1e6 }],
  });
  assert.equal(after.get("millrace.latency.count")?.points[0]?.value, 3);
  assert.equal(after.get("millrace.latency.max")?.points[0]?.value, latency.max / 1e6);

  channel[Symbol.dispose]();
  sender.close();
  receiver.close();
  await sdk.collect(); // a channel that is gone is no error
  observation[Symbol.dispose]();
  await sdk.collect();
});

test("observeChannel() reads nothing once its observation is ended", async () => {
  await using sdk = collector();
  using channel = mpsc(u32);
  let reads = 0;
  const counted = {
    stats: () => {
      reads++;
      return channel.stats();
    },
  };
  {
    using _observation = observeChannel(sdk.meter, counted, { name: "counted" });
    await sdk.collect();
    assert.equal(reads, 1, "one look at the channel a collection");
  }
  await sdk.collect();
  assert.equal(reads, 1);
});

test("package.json and deno.json export the same entry points, and each can be imported by its name", async () => {
  const read = (name: string) =>
    JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"));
  const { exports, peerDependenciesMeta } = read("package.json");
  assert.deepEqual(read("deno.json").exports, exports);
  assert.equal(peerDependenciesMeta["@opentelemetry/api"].optional, true);
  const names = Object.keys(exports).map((name) => name.replace(".", "millrace"));
  const modules = await Promise.all(names.map((name) => import(name)));
  const exported = Object.fromEntries(names.map((name, index) => [name, modules[index]]));
  assert.equal(exported["millrace"].mpsc, mpsc);
  assert.equal(exported["millrace/prometheus"].prometheusText, prometheusText);
  assert.equal(exported["millrace/opentelemetry"].observeChannel, observeChannel);
});
