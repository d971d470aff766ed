/**
 * What the runtimes themselves have between processes: a Unix socket, and the pipes of a child
 * process. Each by the runtime's own API, in the way that moves most.
 *
 * @module
 */

/** Both directions of a connection; messages have no bounds in it. */
export interface ByteStream {
  /** Writes all of `bytes`, which are free again when it returns or its promise resolves. */
  write(bytes: Uint8Array): Promise<void> | void;
  /** Is called with what arrives; the bytes are good during the call. */
  onData: (bytes: Uint8Array) => void;
  /** Is called at the end of what arrives. */
  onEnd: () => void;
}

/** A server on a Unix socket that has its path already. */
export interface Listening {
  /** The first connection. */
  readonly accepted: Promise<ByteStream>;
  close(): void;
}

/** What carries bytes between processes in this runtime. */
interface Peer {
  listen(path: string): Promise<Listening>;
  connect(path: string): Promise<ByteStream>;
  /** Starts a child process, whose standard input and output are the stream. */
  spawn(command: readonly string[]): ByteStream;
  /** Standard input and output of this process. */
  stdio(): ByteStream;
}

// Only what is used of each runtime, so that one type checker needs no types of the other.

interface DenoReads {
  read(buffer: Uint8Array): Promise<number | null>;
}

interface DenoConn extends DenoReads {
  write(bytes: Uint8Array): Promise<number>;
}

interface DenoRuntime {
  listen(options: { transport: "unix"; path: string }): {
    accept(): Promise<DenoConn>;
    close(): void;
  };
  connect(options: { transport: "unix"; path: string }): Promise<DenoConn>;
  Command: new (program: string, options: unknown) => {
    spawn(): {
      readonly stdin: WritableStream<Uint8Array>;
      readonly stdout: ReadableStream<Uint8Array>;
    };
  };
  readonly stdin: DenoReads;
  readonly stdout: { writeSync(bytes: Uint8Array): number };
}

interface BunSocket {
  data: BunStream;
  write(bytes: Uint8Array, offset?: number, length?: number): number;
}

interface BunSink {
  write(bytes: Uint8Array): number;
  flush(): number | Promise<number>;
}

interface BunRuntime {
  listen(options: unknown): { stop(closeConnections: boolean): void };
  connect(options: unknown): Promise<BunSocket>;
  spawn(command: readonly string[], options: unknown): {
    readonly stdin: BunSink;
    readonly stdout: ReadableStream<Uint8Array>;
  };
  readonly stdin: { stream(): ReadableStream<Uint8Array> };
  readonly stdout: { writer(options?: unknown): BunSink };
}

const bufferBytes = 2 ** 16;

function ignore(): void {}

class DenoStream implements ByteStream {
  onData: (bytes: Uint8Array) => void = ignore;
  onEnd: () => void = ignore;
  readonly write: ByteStream["write"];

  constructor(reads: DenoReads, write: ByteStream["write"]) {
    this.write = write;
    void this.#pump(reads);
  }

  async #pump(reads: DenoReads): Promise<void> {
    const buffer = new Uint8Array(bufferBytes);
    for (let read; (read = await reads.read(buffer).catch(() => null)) !== null;) {
      this.onData(buffer.subarray(0, read));
    }
    this.onEnd();
  }
}

function denoSocket(connection: DenoConn): ByteStream {
  return new DenoStream(connection, async (bytes) => {
    for (let written = 0; written < bytes.length;) {
      written += await connection.write(written === 0 ? bytes : bytes.subarray(written));
    }
  });
}

/** What arrives as a web stream. */
function pumpChunks(stream: ByteStream, chunks: ReadableStream<Uint8Array>): ByteStream {
  const pump = async () => {
    for await (const chunk of chunks as unknown as AsyncIterable<Uint8Array>) stream.onData(chunk);
    stream.onEnd();
  };
  void pump();
  return stream;
}

function denoPeer(deno: DenoRuntime): Peer {
  return {
    listen(path) {
      const listener = deno.listen({ transport: "unix", path });
      return Promise.resolve({
        accepted: listener.accept().then(denoSocket),
        close: () => listener.close(),
      });
    },
    async connect(path) {
      return denoSocket(await deno.connect({ transport: "unix", path }));
    },
    spawn([program = "", ...args]) {
      const options = { args, stdin: "piped", stdout: "piped", stderr: "inherit" };
      const { stdin, stdout } = new deno.Command(program, options).spawn();
      const writer = stdin.getWriter();
      const write = (bytes: Uint8Array) => writer.write(bytes.slice());
      return pumpChunks({ write, onData: ignore, onEnd: ignore }, stdout);
    },
    stdio() {
      return new DenoStream(deno.stdin, (bytes) => {
        for (let written = 0; written < bytes.length;) {
          written += deno.stdout.writeSync(bytes.subarray(written));
        }
      });
    },
  };
}

class BunStream implements ByteStream {
  onData: (bytes: Uint8Array) => void = ignore;
  onEnd: () => void = ignore;
  #drained = ignore;
  readonly #socket: BunSocket;

  constructor(socket: BunSocket) {
    this.#socket = socket;
  }

  write(bytes: Uint8Array): Promise<void> | void {
    const written = this.#socket.write(bytes);
    if (written < bytes.length) return this.#writeRest(bytes, Math.max(0, written));
  }

  async #writeRest(bytes: Uint8Array, written: number): Promise<void> {
    while (written < bytes.length) {
      await new Promise<void>((resolve) => this.#drained = resolve);
      written += Math.max(0, this.#socket.write(bytes, written, bytes.length - written));
    }
  }

  drain(): void {
    this.#drained();
  }
}

/** The handlers of a socket; they are shared by all of a server, and its data tells them apart. */
function bunHandlers(onOpen: (stream: BunStream) => void): unknown {
  return {
    open(socket: BunSocket) {
      socket.data = new BunStream(socket);
      onOpen(socket.data);
    },
    data: (socket: BunSocket, bytes: Uint8Array) => socket.data.onData(bytes),
    drain: (socket: BunSocket) => socket.data.drain(),
    close: (socket: BunSocket) => socket.data.onEnd(),
  };
}

function bunSink(sink: BunSink): ByteStream["write"] {
  return (bytes) => {
    sink.write(bytes);
    const flushed = sink.flush();
    if (flushed instanceof Promise) return flushed.then(ignore);
  };
}

function bunPeer(bun: BunRuntime): Peer {
  return {
    listen(path) {
      const { promise: accepted, resolve } = Promise.withResolvers<ByteStream>();
      const server = bun.listen({ unix: path, socket: bunHandlers(resolve) });
      return Promise.resolve({ accepted, close: () => server.stop(true) });
    },
    async connect(path) {
      const { promise, resolve } = Promise.withResolvers<ByteStream>();
      await bun.connect({ unix: path, socket: bunHandlers(resolve) });
      return promise;
    },
    spawn(command) {
      const options = { stdin: "pipe", stdout: "pipe", stderr: "inherit" };
      const { stdin, stdout } = bun.spawn(command, options);
      return pumpChunks({ write: bunSink(stdin), onData: ignore, onEnd: ignore }, stdout);
    },
    stdio() {
      const write = bunSink(bun.stdout.writer());
      return pumpChunks({ write, onData: ignore, onEnd: ignore }, bun.stdin.stream());
    },
  };
}

const { Deno: deno, Bun: bun } = globalThis as unknown as { Deno?: DenoRuntime; Bun?: BunRuntime };

/** What this runtime has. */
export const peer: Peer = deno !== undefined ? denoPeer(deno) : bunPeer(bun as BunRuntime);

/** Puts whole numbers together again, and hands out as many as there are. */
export function numbersOf(take: (values: Uint32Array) => void): (bytes: Uint8Array) => void {
  const partial = new Uint8Array(4);
  const partialNumber = new Uint32Array(partial.buffer);
  let held = 0;
  return (bytes) => {
    let at = 0;
    if (held > 0) {
      while (held < 4 && at < bytes.length) partial[held++] = bytes[at++] as number;
      if (held < 4) return;
      held = 0;
      take(partialNumber);
    }
    const whole = bytes.length - (bytes.length - at) % 4;
    if (whole > at) {
      const start = bytes.byteOffset + at;
      take(
        start % 4 === 0
          ? new Uint32Array(bytes.buffer as ArrayBuffer, start, (whole - at) / 4)
          : new Uint32Array(bytes.slice(at, whole).buffer),
      );
    }
    for (at = whole; at < bytes.length; at++) partial[held++] = bytes[at] as number;
  };
}
