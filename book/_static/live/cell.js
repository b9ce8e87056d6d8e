// One code cell of the page: its editor, its buttons, what it shows, and how one breaks it.
import { duration, el } from "./dom.js";
import { Editor } from "./editor.js";
import { highlight } from "./highlight.js";
import { Output } from "./output.js";

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const CHECKED = /\b(check|numeric|order|bound|verdict)\s*\(/;

export class Cell {
  // `page` runs cells: run(cell), cancel(cell), slips(source), and keeps edits.
  constructor(element, number, page) {
    Object.assign(this, { element, number, page, state: "idle", ran: false, stamp: 0 });
    const pre = element.querySelector(".cell_input pre");
    this.editor = new Editor(pre, `Code cell ${number} of ${page.count}`, page.help, {
      run: () => page.run(this),
      leave: () => this.runButton.focus(),
      change: () => this.changed(),
    });
    this.exercise = /^\s*answer\b.*=/m.test(this.editor.book) && /\bfeedback\s*\(/.test(this.editor.book);
    this.breakable = CHECKED.test(this.editor.book);
    this.makeTools();
    this.makeOutput();
    const kept = page.kept(this);
    if (kept !== null && kept !== this.editor.book) this.editor.text = kept;
  }

  makeTools() {
    this.runButton = el("button", { type: "button", class: "live-run", onclick: () => this.pressed() });
    this.mark = el("span", { class: "live-mark" });
    this.breakButton = this.breakable &&
      el("button", { type: "button", class: "live-quiet live-break", "aria-pressed": "false", onclick: () => this.toggleBreak() }, "Break it");
    this.resetButton = el("button", { type: "button", class: "live-quiet live-reset", hidden: true, onclick: () => this.reset() }, "Reset");
    this.tools = el("div", { class: "live-tools" }, this.runButton, this.mark,
      el("span", { class: "live-right" }, this.resetButton, this.breakButton));
    this.panel = el("div", { class: "live-panel", hidden: true });
    const input = this.element.querySelector(":scope > details.hide") || this.element.querySelector(":scope > .cell_input");
    input.after(this.tools, this.panel);
    this.draw();
  }

  makeOutput() {
    this.output = this.element.querySelector(":scope > .cell_output");
    if (!this.output) {
      this.output = el("div", { class: "cell_output docutils container", hidden: true });
      this.element.append(this.output);
    }
    this.book = { nodes: [...this.output.childNodes], hidden: this.output.hidden };
    this.alts = [...this.output.querySelectorAll("img")].map((image) => image.alt);
  }

  get source() {
    return this.editor.text;
  }

  get label() {
    return this.exercise ? "Check my answer" : "Run";
  }

  draw() {
    const { state } = this;
    this.element.dataset.live = state;
    const busy = state === "running" || state === "waiting";
    const words = { running: "Stop", waiting: "Cancel" }[state] || this.label;
    if (this.runButton.textContent !== words) this.runButton.textContent = words;
    this.runButton.setAttribute("aria-label", `${words}: cell ${this.number}`);
    this.runButton.classList.toggle("live-stop", busy);
    this.element.classList.toggle("live-busy", state === "running");
  }

  pressed() {
    if (this.state === "running") this.page.stop();
    else if (this.state === "waiting") this.page.cancel(this);
    else this.page.run(this);
  }

  set(state, words = "") {
    this.state = state;
    this.mark.textContent = words;
    this.draw();
  }

  changed() {
    this.resetButton.hidden = !this.editor.edited;
    this.page.keep(this);
    if (this.ran && !this.mine) this.mark.textContent = "edited since it ran";
  }

  // The book's code and the book's output.
  reset() {
    this.leaveBreak();
    this.editor.text = this.editor.book;
    if (this.state !== "running" && this.state !== "waiting") {
      this.output.replaceChildren(...this.book.nodes);
      this.output.hidden = this.book.hidden;
      this.mark.textContent = this.ran ? "the book's code again; Python still has what it ran" : "";
    }
    this.runButton.focus();
  }

  // Running

  wait(words) {
    this.set("waiting", words);
  }

  begin() {
    let images = 0;
    this.shown = new Output(this.output, () => this.alts[images++] || `Figure of cell ${this.number}, as it ran now`,
      (frame) => this.page.place(frame, this));
    this.shown.slipped = this.right !== undefined; // then a verdict that refuses is what was asked for
    this.output.hidden = false;
    const began = performance.now();
    this.set("running", "running");
    this.ticker = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      if (seconds > 1) this.mark.textContent = `running, ${duration(seconds)}`;
    }, 500);
  }

  take(data) {
    this.shown.take(data);
  }

  end({ good, seconds, lost, words }) {
    clearInterval(this.ticker);
    this.shown.end();
    this.ran = !lost;
    const { told, refused } = this.shown;
    const outcome = lost ? words : told?.stopped ? "stopped" : refused ? "refused" : good ? "" : "an error";
    this.set(good ? "good" : "bad", [outcome, lost ? "" : duration(seconds)].filter(Boolean).join(", "));
    this.offerRepair();
    if (this.look || this.exercise) this.output.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    this.look = false;
  }

  say(...words) {
    this.output.hidden = false;
    this.output.append(el("p", { class: "live-remark" }, ...words));
  }

  // Break it: every sign and transpose of the check becomes a button.

  async toggleBreak() {
    if (this.breaking) return this.leaveBreak();
    this.breaking = true;
    this.breakButton.setAttribute("aria-pressed", "true");
    const source = this.source;
    this.panel.hidden = false;
    this.panel.replaceChildren("Looking for what could go wrong …");
    const slips = await this.page.slips(source);
    if (!this.breaking || source !== this.source) return;
    if (!slips.length) {
      this.panel.replaceChildren("There is no sign to flip here. Edit the code and run it: the check will answer.");
      return;
    }
    this.openFold();
    this.drawSlips(source, slips);
  }

  openFold() {
    const fold = this.element.querySelector(":scope > details.hide");
    if (fold) fold.open = true;
  }

  drawSlips(source, slips) {
    const parts = [];
    let last = 0;
    const code = (text) => {
      const span = el("span");
      span.innerHTML = highlight(text);
      return span;
    };
    slips.forEach(([start, end, instead, what], i) => {
      parts.push(code(source.slice(last, start)));
      const shown = source.slice(start, end) || "+";
      const deed = what === "the transpose" ? "drop the transpose" : `flip ${what} here`;
      const line = source.slice(0, start).split("\n").length;
      parts.push(el("button", {
        type: "button", class: start === end ? "live-slip live-ghost" : "live-slip", "aria-label": `Line ${line}: ${deed}`, title: deed,
        onclick: () => this.slip(source, slips[i]),
      }, shown));
      last = end;
    });
    parts.push(code(source.slice(last)));
    this.editor.show(...parts);
    const any = el("button", { type: "button", class: "live-quiet", onclick: () => this.slip(source, slips[Math.floor(Math.random() * slips.length)]) }, "Pick one for me");
    this.panel.replaceChildren(el("span", {}, "Press a marked sign in the code to flip it. The check will run. "), any);
    const first = this.editor.pre.querySelector(".live-slip");
    first.focus({ preventScroll: true });
    first.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  leaveBreak() {
    if (!this.breaking) return;
    this.breaking = false;
    this.breakButton.setAttribute("aria-pressed", "false");
    this.panel.hidden = true;
    this.editor.unshow();
  }

  slip(source, [start, end, instead]) {
    this.leaveBreak();
    this.right ??= source;
    this.slipLine = source.slice(0, start).split("\n").length;
    this.editor.text = source.slice(0, start) + instead + source.slice(end);
    this.editor.point(start, start + Math.max(instead.length, 1));
    this.editor.pre.querySelector(".live-here")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.look = true;
    this.runButton.focus({ preventScroll: true });
    this.page.run(this);
  }

  // After a slip: one press puts it right again.
  offerRepair() {
    if (this.right === undefined || this.source === this.right) {
      this.right = undefined;
      return;
    }
    const button = el("button", { type: "button", class: "live-repair", onclick: () => this.repair() }, "Put it right");
    const box = this.shown.refused;
    if (box && !box.querySelector(".live-term")) {
      box.append(el("p", { class: "live-term" }, `The wrong term is the one at the mark, in line ${this.slipLine}.`));
    }
    if (box) box.append(el("p", {}, button));
    else {
      const words = this.state === "good" && !this.shown.kinds.includes("refused")
        ? "This slip was not refused here: it may do no harm, or show only in a check further down. "
        : "";
      this.output.hidden = false;
      this.output.append(el("p", { class: "live-remark" }, words, button));
    }
  }

  repair() {
    this.editor.text = this.right;
    this.right = undefined;
    this.look = true;
    this.runButton.focus({ preventScroll: true });
    this.page.run(this);
  }
}
