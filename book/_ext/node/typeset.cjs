// Typesets formulas: a line of JSON in, a line of JSON out, until the input ends.
//   {"tex": ..., "display": ...}  ->  {"mathml": ...} or {"error": ...}
const temml = require(process.argv[2]);

function typeset({ tex, display }) {
  try {
    return { mathml: temml.renderToString(tex, { displayMode: display, throwOnError: true, wrap: "tex" }) };
  } catch (error) {
    return { error: String(error.message) };
  }
}

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => process.stdout.write(JSON.stringify(typeset(JSON.parse(line))) + "\n"));
