// A plain text field over the coloured code of the page: it grows with its text, and Tab indents.
import { el } from "./dom.js";
import { highlight } from "./highlight.js";

const INDENT = "    ";

export class Editor {
  // `pre` is the code on the page; `on` has run(), leave() and change().
  constructor(pre, label, help, on) {
    this.pre = pre;
    this.on = on;
    this.book = pre.textContent.replace(/\n$/, "");
    this.typing = false;
    this.field = el("textarea", {
      class: "live-field", "aria-label": label, "aria-describedby": help, spellcheck: "false",
      autocapitalize: "off", autocomplete: "off", autocorrect: "off", wrap: "off", rows: "1",
      oninput: () => { this.typing = true; this.draw(); this.on.change(); },
      onkeydown: (event) => this.key(event),
      onpointerdown: () => { this.typing = true; },
      onblur: () => { this.typing = false; },
    });
    this.field.value = this.book;
    this.box = el("div", { class: "live-code" });
    pre.before(this.box);
    pre.removeAttribute("tabindex");
    this.box.append(pre, this.field);
  }

  get text() {
    return this.field.value;
  }

  set text(text) {
    this.field.value = text;
    this.draw();
    this.on.change();
  }

  get edited() {
    return this.text !== this.book;
  }

  draw() {
    this.pre.innerHTML = highlight(this.text) + "\n";
  }

  // Marks a place in the code, until it is edited.
  point(start, end) {
    const code = (text) => {
      const span = document.createElement("span");
      span.innerHTML = highlight(text);
      return span;
    };
    const { text } = this;
    this.pre.replaceChildren(code(text.slice(0, start)), el("mark", { class: "live-here" }, text.slice(start, end)), code(text.slice(end)), "\n");
  }

  // Shows code that is not typed in, such as that of a slip to choose.
  show(...parts) {
    this.field.hidden = true;
    this.pre.replaceChildren(...parts, "\n");
  }

  unshow() {
    this.field.hidden = false;
    this.draw();
  }

  key(event) {
    if (event.key === "Enter" && (event.shiftKey || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.on.run();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.on.leave();
    } else if (event.key === "Tab" && this.typing && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault(); // before one types, Tab goes on to the next control
      if (event.shiftKey) this.dedent();
      else this.indent();
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      const line = this.text.slice(0, this.field.selectionStart).split("\n").pop();
      this.insert("\n" + line.match(/^ */)[0] + (/:\s*(#.*)?$/.test(line) ? INDENT : ""));
    }
  }

  // As if typed, so that the browser can undo it.
  insert(text) {
    if (!document.execCommand("insertText", false, text)) {
      this.field.setRangeText(text, this.field.selectionStart, this.field.selectionEnd, "end");
      this.field.dispatchEvent(new Event("input"));
    }
  }

  lines() {
    const { selectionStart: start, selectionEnd: end } = this.field;
    const first = this.text.lastIndexOf("\n", start - 1) + 1;
    const stop = this.text.indexOf("\n", Math.max(end - (end > start ? 1 : 0), first));
    return { start, end, first, last: stop < 0 ? this.text.length : stop };
  }

  replaceLines(change) {
    const { first, last } = this.lines();
    const old = this.text.slice(first, last), fresh = old.split("\n").map(change).join("\n");
    if (old === fresh) return;
    this.field.setSelectionRange(first, last);
    if (fresh) this.insert(fresh);
    else document.execCommand("delete");
    this.field.setSelectionRange(old.includes("\n") ? first : first + fresh.length, first + fresh.length);
  }

  indent() {
    const { start, end } = this.lines();
    if (this.text.slice(start, end).includes("\n")) this.replaceLines((line) => (line ? INDENT + line : line));
    else {
      const column = start - (this.text.lastIndexOf("\n", start - 1) + 1);
      this.insert(" ".repeat(INDENT.length - (column % INDENT.length)));
    }
  }

  dedent() {
    this.replaceLines((line) => line.replace(/^ {1,4}/, ""));
  }
}
