// The page's side of Python: it starts the worker, sends it cells, and ends it.
export class Python {
  // `config` is what the page says of itself; `on` takes what happens: progress, step, ready, failed, crashed.
  constructor(config, on) {
    this.config = config;
    this.on = on;
    this.waiting = new Map();
    this.last = 0;
    this.ready = false;
  }

  start() {
    this.ready = false;
    const worker = (this.worker = new Worker(new URL("./worker.js" + new URL(import.meta.url).search, import.meta.url), { type: "module" }));
    // Where the server allows it, a cell can be interrupted without losing the variables.
    this.interrupt = self.crossOriginIsolated ? new Uint8Array(new SharedArrayBuffer(1)) : null;
    worker.onmessage = ({ data }) => worker === this.worker && this.receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker === this.worker) this.lost(this.ready ? "crashed" : "failed", event.message || "");
    };
    worker.postMessage({ kind: "start", interrupt: this.interrupt, ...this.config });
  }

  receive(data) {
    if (data.kind === "done") {
      this.waiting.get(data.id)?.finish(data);
      this.waiting.delete(data.id);
    } else if (data.kind === "failed" || data.kind === "crashed") {
      this.lost(data.kind, data.text, data.failed);
    } else if (data.kind === "ready" || data.kind === "progress" || data.kind === "step") {
      if (data.kind === "ready") this.ready = true;
      this.on[data.kind]?.(data);
    } else {
      this.current?.(data);
    }
  }

  ask(request) {
    const id = ++this.last;
    return new Promise((finish) => {
      this.waiting.set(id, { finish });
      this.worker.postMessage({ id, ...request });
    });
  }

  // Run a cell; `receive` gets what it shows. The answer says whether it went well, or that Python was lost.
  async run(number, source, receive) {
    this.current = receive;
    if (this.interrupt) this.interrupt[0] = 0;
    const answer = await this.ask({ kind: "run", number, source });
    this.current = null;
    return answer;
  }

  async slips(source) {
    return (await this.ask({ kind: "slips", source })).slips || [];
  }

  warm(name) {
    return this.ask({ kind: "warm", name });
  }

  // Which of the cells above have to run before a cell: all sources, its place, and when each ran.
  async needs(...cells) {
    return (await this.ask({ kind: "needs", cells })).needs || [];
  }

  // Ask the cell to stop; true if it does so by itself, and the variables stay.
  async stop(patience = 2000) {
    if (!this.interrupt || !this.ready) return false;
    this.interrupt[0] = 2; // SIGINT
    const end = performance.now() + patience;
    while (performance.now() < end) {
      if (!this.current) return true;
      await new Promise((next) => setTimeout(next, 30));
    }
    return false;
  }

  end() {
    this.worker?.terminate();
    this.worker = null;
    this.ready = false;
    for (const { finish } of this.waiting.values()) finish({ lost: true });
    this.waiting.clear();
  }

  lost(kind, text, failed) {
    this.end();
    this.on[kind]({ text, failed });
  }
}
