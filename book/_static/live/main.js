// Runs Python in the page. Loaded when the reader presses the button, and not before.
import { Cell } from "./cell.js";
import { duration, el, megabytes } from "./dom.js";
import { loadMathematics } from "./output.js";
import { Python } from "./python.js";

const HELP = "live-help";

class Page {
  constructor(offer) {
    this.offer = offer;
    this.config = JSON.parse(offer.dataset.live);
    this.help = HELP;
    this.queue = [];
    this.began = performance.now();
    this.makeBar();
    const elements = [...document.querySelectorAll("article div.cell")].filter((e) => e.querySelector(".cell_input pre"));
    this.count = elements.length;
    this.cells = elements.map((element, i) => new Cell(element, i + 1, this));
    addEventListener("pageshow", (event) => event.persisted && !this.python.worker && this.startAgain());
  }

  // What stands in the place of the button, and what is always in sight.
  makeBar() {
    this.words = el("span", { class: "live-words", role: "status" });
    this.progress = el("progress", { max: "1", value: "0", "aria-label": "Download of Python" });
    this.retry = el("button", { type: "button", class: "live-button", hidden: true, onclick: () => this.startAgain() }, "Try again");
    this.offer.replaceChildren(this.progress, this.words, this.retry);
    this.offer.append(el("p", { id: HELP, hidden: true }, "Shift and Enter run the cell. Escape leaves it; then Tab goes on."));
    this.status = el("span", { class: "live-status", role: "status" });
    this.stopAll = el("button", { type: "button", hidden: true, onclick: () => this.stop() }, "Stop");
    this.runAll = el("button", { type: "button", onclick: () => this.all() }, "Run all");
    this.again = el("button", { type: "button", class: "live-quiet", onclick: () => this.restart() }, "Start again");
    this.bar = el("div", { class: "live-bar", role: "region", "aria-label": "Python in this page" },
      this.status, this.stopAll, this.runAll, this.again);
    document.querySelector("article").append(this.bar);
    this.set("loading");
  }

  set(state) {
    this.state = state;
    document.documentElement.dataset.live = state;
  }

  say(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  start() {
    const base = new URL(this.config.up, location.href), absolute = (path) => new URL(path, base).href;
    const config = {
      index: absolute(this.config.python),
      packages: this.config.packages,
      wheels: this.config.wheels.map((wheel) => ({ ...wheel, address: absolute(wheel.address) })),
      files: this.config.files.map((file) => ({ address: absolute(file.address), path: file.path })),
      folder: this.config.folder,
      modules: this.config.modules.map((name) => (
        { name, address: new URL(`./live_page/${name}`, import.meta.url).href + new URL(import.meta.url).search })),
    };
    this.python = new Python(config, {
      progress: ({ loaded }) => this.loading(loaded),
      step: ({ text }) => { this.words.textContent = `${text} …`; this.progress.removeAttribute("value"); },
      ready: (data) => this.ready(data),
      failed: (data) => this.failed(data),
      crashed: (data) => this.crashed(data),
    });
    this.mathematics = loadMathematics(this.config.temml && absolute(this.config.temml));
    this.begin();
  }

  begin() {
    this.set("loading");
    this.asked = performance.now();
    this.progress.hidden = false;
    this.progress.value = 0;
    this.retry.hidden = true;
    this.words.textContent = "Python is coming …";
    this.say("Python is starting.");
    this.python.start();
  }

  loading(loaded) {
    if (this.state !== "loading") return;
    const total = this.config.bytes;
    if (performance.now() - (this.drawn || 0) < 60) return;
    this.drawn = performance.now();
    this.progress.value = Math.min(loaded / total, 1);
    const seconds = (this.drawn - this.asked) / 1000, left = ((total - loaded) * seconds) / loaded;
    const rest = seconds > 5 && left > 5 ? `, ${duration(Math.ceil(left)).replace(/\.\d/, "")} to go` : "";
    this.words.textContent = `Downloading Python: ${megabytes(Math.min(loaded, total))} of ${megabytes(total)} MB${rest}`;
  }

  async ready({ version }) {
    await this.mathematics;
    if (!this.python.ready) return;
    this.progress.hidden = true;
    const seconds = (performance.now() - this.asked) / 1000;
    this.set("ready");
    this.words.replaceChildren(el("strong", {}, "Python runs in this page."),
      ` Edit any cell and run it${matchMedia("(pointer: coarse)").matches ? "" : " with Shift+Enter"}. What you change stays in this tab.`);
    this.offer.dataset.seconds = seconds.toFixed(2);
    this.offer.dataset.version = version;
    this.say(`Ready after ${duration(seconds)}.`);
    this.pump();
    this.warm();
  }

  // While nothing runs, Python imports what the cells will ask for.
  async warm() {
    const { python } = this, worker = python.worker;
    for (const name of this.config.warm) {
      if (this.busy || python.worker !== worker) return;
      await python.warm(name);
    }
    this.offer.dataset.warm = "done";
  }

  failed({ text, failed }) {
    this.set("failed");
    this.progress.hidden = true;
    this.retry.hidden = false;
    const what = failed ? `${failed.name}: ${failed.why}.` : text.split("\n").pop();
    this.words.textContent = `Python could not start. ${what}`;
    this.say("Python could not start.");
    for (const cell of this.queue.splice(0)) cell.set("idle");
  }

  // Python ended by itself, with all its variables.
  crashed({ text }) {
    console.info("Python ended:", text);
    this.lose("Python ended here: it ran out of memory, or out of its stack. It starts again, without its variables.");
  }

  lose(words) {
    this.lost = words;
    this.python.end();
    this.queue = [];
    for (const cell of this.cells) {
      cell.ran = false;
      cell.stamp = 0;
      if (cell !== this.running) cell.set("idle");
    }
    this.finishLost?.();
    this.startAgain();
  }

  startAgain() {
    this.begin();
  }

  // Running

  run(cell) {
    if (this.state === "failed") this.startAgain();
    cell.leaveBreak();
    if (cell.state === "running" || cell.state === "waiting") return;
    this.enqueue([cell], true);
  }

  all(cells = this.cells) {
    if (this.state === "failed") this.startAgain();
    this.enqueue(cells.filter((cell) => cell.state !== "running" && cell.state !== "waiting"), false);
  }

  enqueue(cells, alone) {
    for (const cell of cells) {
      cell.alone = alone;
      cell.leaveBreak();
      cell.wait(this.state === "ready" ? "waits for its turn" : "waits for Python");
      this.queue.push(cell);
    }
    this.pump();
  }

  cancel(cell) {
    this.queue = this.queue.filter((other) => other !== cell);
    cell.set("idle", "cancelled");
  }

  async pump() {
    if (this.busy || this.state !== "ready") return;
    this.busy = true;
    this.stopAll.hidden = false;
    this.again.hidden = true;
    while (this.queue.length && this.state === "ready") {
      const cell = this.queue[0];
      this.say(`Cell ${cell.number} is next.`);
      const first = cell.alone ? await this.needed(cell) : [];
      if (this.state !== "ready" || this.queue[0] !== cell) continue;
      if (first.length) {
        this.queue.unshift(...first);
        for (const other of first) {
          other.alone = false;
          other.wait(`cell ${cell.number} needs it`);
        }
        cell.alone = false;
        cell.mark.textContent = `needs ${first.length === 1 ? "a cell" : `${first.length} cells`} above, which run first`;
        continue;
      }
      this.queue.shift();
      const good = await this.runOne(cell);
      if (!good) this.dropQueue(cell);
    }
    this.busy = false;
    this.stopAll.hidden = true;
    this.again.hidden = false;
    if (this.queue.length && this.state === "ready") this.pump();
  }

  // The cells above that this one cannot do without, and that have not run, or whose names were taken since.
  async needed(cell) {
    const { cells } = this, own = cell.number - 1;
    if (cells.slice(0, own).every((other) => other.stamp) && !cells.slice(own + 1).some((other) => other.stamp)) return [];
    const numbers = await this.python.needs(cells.map((other) => other.source), own, cells.map((other) => other.stamp));
    return numbers.map((i) => cells[i]).filter((other) => !this.queue.includes(other));
  }

  async runOne(cell) {
    cell.begin();
    this.running = cell;
    this.say(`Cell ${cell.number} of ${this.count} is running.`);
    cell.mine = true;
    const answer = await Promise.race([
      this.python.run(cell.number, cell.source, (data) => cell.take(data)),
      new Promise((finish) => { this.finishLost = () => finish({ lost: true }); }),
    ]);
    this.running = null;
    cell.mine = false;
    cell.stamp = answer.lost ? 0 : (this.clock = (this.clock || 0) + 1);
    if (answer.lost) {
      cell.end({ good: false, lost: true, words: "stopped" });
      cell.say(this.lost, " ", this.aboveButton(cell));
      return false;
    }
    cell.end(answer);
    this.offer.dataset.first ??= ((performance.now() - this.asked) / 1000).toFixed(2);
    const { told, refused } = cell.shown;
    if (told?.missing && this.cells.slice(0, cell.number - 1).some((other) => !other.ran)) {
      cell.say(`\`${told.missing}\` may come from a cell above. `, this.aboveButton(cell));
    }
    this.say(answer.good ? `Cell ${cell.number} ran in ${duration(answer.seconds)}.`
      : refused ? `Cell ${cell.number}: refused.` : `Cell ${cell.number}: an error.`);
    return answer.good;
  }

  aboveButton(cell) {
    const cells = this.cells.slice(0, cell.number);
    return el("button", { type: "button", class: "live-quiet", onclick: () => this.all(cells) },
      cell.number === 1 ? "Run it again" : "Run all above, then this");
  }

  dropQueue(cell) {
    const left = this.queue.splice(0);
    for (const other of left) other.set("idle", "");
    if (left.length) this.say(`Cell ${cell.number} failed; ${left.length === 1 ? "one cell was" : `${left.length} cells were`} left out.`);
  }

  async stop() {
    for (const cell of this.queue.splice(0)) cell.set("idle", "");
    if (!this.running || (await this.python.stop())) return;
    this.lose("Stopped. Python starts again; its variables are gone.");
  }

  restart() {
    if (this.state === "loading") return;
    this.lose("Stopped: Python starts again, without its variables.");
  }

  slips(source) {
    return this.state === "ready" ? this.python.slips(source) : this.whenReady().then(() => this.python.slips(source));
  }

  whenReady() {
    return new Promise((done) => {
      const wait = setInterval(() => this.state === "ready" && (clearInterval(wait), done()), 100);
    });
  }

  // Where an error arose, in words.
  place(frame, cell) {
    const number = Number(String(frame.where).match(/^cell (\d+)$/)?.[1]);
    const within = frame.function ? `, in ${frame.function}` : "";
    if (!number) return `${frame.where}, line ${frame.line}${within}`;
    if (number === cell.number) return `this cell, line ${frame.line}${within}`;
    const other = this.cells[number - 1];
    const link = el("button", { type: "button", class: "live-link", onclick: () => {
      other.openFold();
      other.element.scrollIntoView({ block: "center" });
      other.editor.field.focus({ preventScroll: true });
    } }, `cell ${number}`);
    return el("span", {}, link, `, line ${frame.line}${within}`);
  }

  // What the reader edits outlives a reload of this tab.

  key(cell) {
    return `live:${location.pathname}:${cell.number}`;
  }

  keep(cell) {
    try {
      if (cell.editor.edited) sessionStorage.setItem(this.key(cell), JSON.stringify([cell.editor.book, cell.source]));
      else sessionStorage.removeItem(this.key(cell));
    } catch { /* a tab without storage forgets */ }
  }

  kept(cell) {
    try {
      const [book, source] = JSON.parse(sessionStorage.getItem(this.key(cell))) || [];
      return book === cell.editor.book && typeof source === "string" ? source : null;
    } catch {
      return null;
    }
  }
}

export function start(offer) {
  const sheet = el("link", { rel: "stylesheet", href: new URL("./live.css", import.meta.url).href + new URL(import.meta.url).search });
  sheet.onload = sheet.onerror = () => new Page(offer).start();
  document.head.append(sheet);
}
