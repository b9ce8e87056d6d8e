// Colours Python as the page does: the same classes as Pygments writes, from one regular expression.
const KEYWORDS = new Set(
  ("as assert async await break class continue def del elif else except finally for global if lambda " +
    "nonlocal pass raise return try while with yield").split(" "));
const IMPORTS = new Set(["import", "from"]);
const WORDS = new Set(["and", "in", "is", "not", "or"]);
const CONSTANTS = new Set(["True", "False", "None"]);
const BUILTINS = new Set(
  ("abs all any bool bytes callable dict divmod enumerate filter float format frozenset getattr hasattr hash int " +
    "isinstance issubclass iter len list map max min next object open pow print range repr reversed round set " +
    "setattr slice sorted str sum super tuple type vars zip").split(" "));

const TOKEN = new RegExp(
  [
    /(?<comment>#[^\n]*)/,
    /(?<string>[rRbBfFuU]{0,2}(?:"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/,
    /(?<number>\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?|\.\d[\d_]*(?:[eE][+-]?\d+)?)[jJ]?)/,
    /(?<name>[\p{L}_][\p{L}\p{N}_]*)/,
    /(?<operator>[-+*\/%@&|^~<>=!]+|\.(?!\d))/,
  ].map((part) => part.source).join("|"), "gu");

const escape = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

function classOf({ comment, string, number, name, operator }, before) {
  if (comment) return "c1";
  if (string) return "s2";
  if (number) return /[.eEjJ]/.test(number) && !/^0[xX]/.test(number) ? "mf" : "mi";
  if (operator) return "o";
  if (before === "def") return "nf";
  if (before === "class") return "nc";
  if (IMPORTS.has(name)) return "kn";
  if (KEYWORDS.has(name)) return "k";
  if (WORDS.has(name)) return "ow";
  if (CONSTANTS.has(name)) return "kc";
  return BUILTINS.has(name) ? "nb" : "";
}

export function highlight(source) {
  let html = "", last = 0, before = "";
  for (const match of source.matchAll(TOKEN)) {
    const kind = classOf(match.groups, before);
    html += escape(source.slice(last, match.index));
    html += kind ? `<span class="${kind}">${escape(match[0])}</span>` : escape(match[0]);
    last = match.index + match[0].length;
    before = match[0];
  }
  return html + escape(source.slice(last));
}
