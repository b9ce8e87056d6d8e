// Draws what a cell shows, as the page draws what the build stored.
import { el } from "./dom.js";

let temml = null;

// Temml, which typeset the page when it was built; without it formulas stay TeX.
export function loadMathematics(address) {
  return new Promise((done) => {
    if (!address) return done();
    const script = el("script", { src: address, onload: () => { temml = window.temml; done(); }, onerror: () => done() });
    document.head.append(script);
  });
}

export function formula(tex, display = false) {
  const box = el("span", { class: "math notranslate nohighlight" });
  try {
    temml.render(tex, box, { displayMode: display, throwOnError: true });
    const math = box.querySelector("math");
    math.removeAttribute("class");
    math.removeAttribute("style");
    math.dataset.tex = tex;
  } catch {
    box.replaceChildren(el("code", {}, tex));
  }
  return box;
}

// The latest receipts' words, split into a formula and the text around it.
function receiptLine([before, tex, after]) {
  return el("p", { class: "receipt-line" }, before && before + " ", tex && formula(tex), tex && " ", after);
}

function receipt({ record, headline, lines }) {
  const drawn = lines.map(receiptLine);
  if (!drawn.length) drawn.push(el("p", { class: "receipt-line" }, headline));
  else {
    const open = record.state !== "holds" || record.kind === "trial";
    drawn.splice(0, drawn.length, el("details", { open }, el("summary", {}, headline), ...drawn));
  }
  return el("div", { class: `receipt receipt-${record.state} container live-receipt` }, ...drawn);
}

const ACTIONS = {
  "sign flipped": "has the wrong sign", dropped: "is too much", doubled: "counts half of what it should",
  transposed: "lacks its transpose", "not transposed": "is transposed, and should not be",
  "factors swapped": "has its factors in the wrong order",
};

// The number of an equation of this page, with its label.
function equation(label) {
  const place = document.getElementById(`equation-${label}`);
  const number = place?.querySelector(".eqno")?.firstChild?.textContent.trim();
  const name = el("span", { class: "live-label" }, label);
  return number ? el("span", {}, el("a", { href: `#equation-${label}` }, number), " ", name) : name;
}

// A refusal is what the reader came for: the equation, the term, the witness.
function refusal(parts) {
  const { record } = parts;
  const undecided = record.state === "undecided", toothless = record.state === "toothless";
  const name = record.label ? equation(record.label) : "The equation";
  const verdict = undecided ? " is undecided, which counts as refused." : toothless
    ? " has a check without teeth." : " is refused.";
  const box = el("div", { class: "live-refusal", role: "group", "aria-label": "Refused" },
    el("p", { class: "live-verdict" }, el("span", { class: "live-cross", "aria-hidden": "true" }, "✗ "), name, verdict));
  if (record.message) box.append(el("p", {}, record.message));
  if (record.changes.length) {
    const [first, ...others] = record.changes;
    const place = first.where === "right side" ? "" : first.where === "left side" ? " on the left side" : ` in ${first.where}`;
    box.append(el("p", { class: "live-term" }, "The term ", formula(first.latex), ` ${ACTIONS[first.action] || `wants another form (${first.action})`}${place}.`));
    if (others.length) {
      const line = el("p", { class: "live-or" }, "It would also hold with ");
      others.forEach((c, i) => line.append(i ? ", or with " : "", formula(c.latex), ` ${REPAIRS[c.action] || c.action}`));
      line.append(".");
      box.append(line);
    }
  }
  const { witness } = record;
  if (witness) {
    const where = witness.where ? `, ${witness.where}` : "";
    box.append(el("p", { class: "live-witness" }, "Witness: the two sides differ by ", el("strong", {}, witness.value), about(witness.value),
      ` (component ${witness.entry + 1}${where}) at`));
    const at = Object.entries(witness.at);
    const list = el("ul", { class: "live-at" }, ...at.slice(0, 12).map(([k, v]) => el("li", {}, `${k} = ${v}`)));
    if (at.length > 12) list.append(el("li", {}, `and ${at.length - 12} more`));
    box.append(list);
  }
  if (record.numbers) box.append(el("p", {}, record.numbers));
  if (record.latex) {
    box.append(el("details", {}, el("summary", {}, "The equation as it was checked"),
      el("p", { class: "receipt-line" }, formula(record.latex))));
  }
  return box;
}

const REPAIRS = {
  "sign flipped": "with its sign flipped", dropped: "left out", doubled: "doubled", transposed: "transposed",
  "not transposed": "without the transpose", "factors swapped": "with two factors swapped",
};

// The size of a fraction that is too long to be seen at a glance.
function about(value) {
  const [, top, bottom] = value.match(/^(-?\d{3,})\/(\d+)$/) || [];
  return top ? ` (about ${Number((Number(top) / Number(bottom)).toPrecision(3))})` : "";
}

function answer({ record, headline }) {
  return el("div", { class: `live-answer live-answer-${record.state}` }, el("p", {}, headline));
}

function errorBox(told, place) {
  if (told.refused !== undefined) return null; // its receipt says more
  const box = el("div", { class: told.stopped ? "live-error live-stopped" : "live-error" }, el("p", { class: "live-title" }, told.title));
  const trace = el("ol", { class: "live-trace" });
  for (const frame of told.frames || []) {
    if (frame.left) {
      trace.append(el("li", {}, `… ${frame.left} more places …`));
      continue;
    }
    const item = el("li", {}, place(frame), frame.times > 1 && ` (${frame.times} times)`);
    if (frame.code) item.append(el("pre", {}, frame.code));
    trace.append(item);
  }
  if (trace.children.length) box.append(trace);
  if (told.cause) box.append(el("p", {}, `After ${told.cause}`));
  if (told.hint) box.append(el("p", {}, told.hint));
  return box;
}

// The outputs of one run of a cell. `place` draws where in the page an error arose.
export class Output {
  constructor(box, alt, place) {
    this.box = box;
    this.alt = alt;
    this.place = place;
    this.stream = null;
    this.pending = "";
    this.refused = null;
    this.kinds = [];
  }

  // The old output stays until the new one begins, so that nothing jumps.
  begin() {
    if (this.begun) return;
    this.begun = true;
    this.box.replaceChildren();
  }

  take(data) {
    if (data.kind === "text") return this.text(data);
    if (data.kind === "doing") return this.doing(data.text);
    this.flush();
    this.stream = this.streamName = null;
    this.begin();
    this.idle();
    if (data.kind === "note") this.box.append(el("p", { class: "live-remark" }, data.text));
    else if (data.kind === "receipt") this.receipt(data);
    else if (data.kind === "show") this.show(data);
    else if (data.kind === "error") {
      this.told = data;
      const box = errorBox(data, this.place);
      if (box) this.box.append(box);
      else if (!this.refused) {
        this.refused = el("div", { class: "live-refusal" }, el("p", { class: "live-verdict" }, `✗ ${data.refused}`));
        this.box.append(this.refused);
      }
    }
  }

  // What a check is at, in a line that goes when the check is done.
  doing(text) {
    this.flush();
    this.begin();
    this.now ??= el("p", { class: "live-doing" });
    if (!this.now.isConnected) this.box.append(this.now);
    this.now.textContent = text;
    this.now.classList.toggle("live-no", text.startsWith("✗"));
  }

  idle() {
    this.now?.remove();
  }

  receipt(data) {
    const { record } = data;
    if (record.kind === "feedback") this.box.append(answer(data));
    else if (record.state === "holds" || (record.kind === "trial" && !this.slipped)) this.box.append(receipt(data));
    else this.box.append((this.refused = refusal(data)));
    this.kinds.push(record.state);
  }

  show({ type, data }) {
    const add = (name, ...inside) => this.box.append(el("div", { class: `output ${name}` }, ...inside));
    if (type === "image/png") {
      const [, width, rest] = data.match(/^(?:(\d+):)?([\s\S]*)$/);
      this.box.append(el("img", { src: `data:image/png;base64,${rest}`, width, alt: this.alt() }));
    } else if (type === "text/latex") {
      const tex = data.replace(/^\s*\$+(?:\\displaystyle)?|\$+\s*$/g, "");
      const box = el("div", { class: "math notranslate nohighlight live-formula" }, formula(tex, true).firstChild);
      add("text_latex", box);
    } else if (type === "text/html" || type === "image/svg+xml") {
      const box = el("div", { class: "output text_html" });
      box.innerHTML = data;
      this.box.append(box);
    } else add("text_plain highlight-none notranslate", el("div", { class: "highlight" }, el("pre", { tabindex: "0" }, data)));
  }

  text({ text, stream }) {
    if (this.streamName !== stream) {
      this.flush();
      this.stream = null;
      this.streamName = stream;
    }
    this.pending += text;
    this.soon ??= requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.soon);
    this.soon = null;
    if (!this.pending) return;
    this.begin();
    this.idle();
    if (!this.stream) {
      this.stream = el("pre", { tabindex: "0" });
      this.box.append(el("div", { class: `output stream highlight-myst-ansi notranslate live-${this.streamName}` },
        el("div", { class: "highlight" }, this.stream)));
      this.line = document.createTextNode("");
      this.stream.append(this.line);
    }
    // A progress bar returns to the start of its line: only the last line can still change.
    const text = (this.line.data + this.pending).replace(/\x1b\[[0-9;]*m/g, "");
    const cut = text.lastIndexOf("\n") + 1;
    const overwrite = (line) => line.replace(/\r+$/, "").split("\r").reduce((old, now) => now + old.slice(now.length), "");
    const done = text.slice(0, cut).replace(/\r\n/g, "\n").split("\n").map(overwrite).join("\n");
    if (done) this.line.before(done);
    const rest = text.slice(cut);
    this.line.data = /\r./s.test(rest) ? overwrite(rest) : rest;
    this.pending = "";
  }

  end() {
    this.flush();
    this.begin();
    this.idle();
    this.box.hidden = !this.box.childNodes.length;
  }
}
