// Python in a thread of its own: it starts Pyodide, and runs the cells that the page sends.
const say = (kind, content = {}) => postMessage({ kind, ...content });

let pyodide, live;
let failed = null; // the file that did not come, and why
let giveUp; // ends the start at the first such file: Pyodide would wait for it

function fail(name, why) {
  failed ??= { name, why };
  giveUp?.(new Error(`${name}: ${why}`));
}

// Every file of Python passes through here: its bytes are counted, and its hash is checked.
const plainFetch = self.fetch.bind(self);
let loaded = 0;

const hex = (buffer) => [...new Uint8Array(buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");
const fromBase64 = (text) => hex(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

async function countedFetch(address, options = {}) {
  const url = String(address.url || address);
  const name = url.split("/").pop().split("?")[0];
  const { integrity, ...rest } = options;
  const canHash = Boolean(self.crypto?.subtle);
  let answer;
  try {
    answer = await plainFetch(address, canHash ? rest : options);
  } catch (error) {
    fail(name, "it did not come: the connection was lost, or refused");
    throw error;
  }
  if (!answer.ok) {
    fail(name, `it is not there (${answer.status})`);
    throw new Error(`${name}: ${answer.status}`);
  }
  const counter = new TransformStream({
    transform(chunk, controller) {
      loaded += chunk.byteLength;
      say("progress", { loaded });
      controller.enqueue(chunk);
    },
  });
  const body = answer.body.pipeThrough(counter);
  const headers = { "content-type": answer.headers.get("content-type") || "" };
  if (/\.wasm$/.test(name)) headers["content-type"] = "application/wasm";
  if (!integrity || !canHash) return new Response(body, { headers });
  let content;
  try {
    content = await new Response(body).arrayBuffer();
  } catch (error) {
    fail(name, "the connection was lost on the way");
    throw error;
  }
  const wanted = integrity.replace(/^sha256-/, "");
  const found = hex(await crypto.subtle.digest("SHA-256", content));
  if (integrity.startsWith("sha256-") && found !== fromBase64(wanted)) {
    fail(name, "it is not the file that was asked for: its hash is another one");
    throw new Error(`${name}: wrong hash`);
  }
  return new Response(content, { headers });
}

async function bytes(address) {
  return new Uint8Array(await (await countedFetch(address)).arrayBuffer());
}

async function start({ index, packages, wheels, files, folder, modules, interrupt }) {
  self.fetch = countedFetch;
  const [{ loadPyodide }, sources, ...contents] = await Promise.all([
    import(index + "pyodide.mjs").catch((error) => {
      fail("pyodide.mjs", "it did not come");
      throw error;
    }),
    Promise.all(modules.map((module) => bytes(module.address))),
    ...wheels.map((wheel) => bytes(wheel.address)),
    ...files.map((file) => bytes(file.address)),
  ]);
  pyodide = await loadPyodide({ indexURL: index, packages });
  const absent = packages.filter((name) => !(name in pyodide.loadedPackages));
  if (absent.length || failed) {
    fail(absent.join(", "), "it could not be loaded");
    throw new Error("packages are missing");
  }
  say("step", { text: "Starting Python" });
  const sha256 = pyodide.runPython("import hashlib; lambda data: hashlib.sha256(data.to_bytes()).hexdigest()");
  const packagesFolder = pyodide.runPython("import site; site.getsitepackages()[0]");
  wheels.forEach((wheel, i) => {
    if (sha256(contents[i]) !== wheel.sha256) {
      fail(wheel.name, "it is not the one that this book was built with: its hash is another one");
      throw new Error("wrong hash");
    }
    pyodide.unpackArchive(contents[i], "wheel", { extractDir: packagesFolder });
  });
  files.forEach((file, i) => {
    pyodide.FS.mkdirTree(file.path.replace(/\/[^/]*$/, ""));
    pyodide.FS.writeFile(file.path, contents[wheels.length + i]);
  });
  pyodide.FS.mkdirTree("/lib/live_page");
  modules.forEach((module, i) => pyodide.FS.writeFile(`/lib/live_page/${module.name}`, sources[i]));
  pyodide.runPython("import sys; sys.path.insert(0, '/lib'); import live_page");
  live = pyodide.pyimport("live_page");
  live.begin(folder, (json) => postMessage(JSON.parse(json)));
  if (interrupt) pyodide.setInterruptBuffer(interrupt);
  say("ready", { version: pyodide.version, loaded });
}

// What a cell imports, and the distribution has, but the page did not ask for.
async function bring(source) {
  try {
    const lacking = live.lacking(source);
    if (lacking) await pyodide.loadPackagesFromImports(lacking, { messageCallback: () => {}, errorCallback: () => {} });
  } catch {
    // It does not parse, or is not to be had: the cell will say so.
  }
}

onmessage = async ({ data }) => {
  const { id, kind } = data;
  try {
    if (kind === "start") {
      await Promise.race([start(data), new Promise((_, reject) => { giveUp = reject; })]);
      giveUp = null;
    }
    if (kind === "run") {
      await bring(data.source);
      const began = performance.now();
      const good = live.run(data.number, data.source);
      say("done", { id, good, seconds: (performance.now() - began) / 1000 });
    } else if (kind === "warm") {
      live.warm(data.name);
      say("done", { id });
    } else if (kind === "slips") {
      say("done", { id, slips: JSON.parse(live.slips_of(data.source)) });
    } else if (kind === "needs") {
      say("done", { id, needs: JSON.parse(live.needs_of(JSON.stringify(data.cells))) });
    }
  } catch (error) {
    say(kind === "start" ? "failed" : "crashed", { failed, text: String(error.message || error).slice(-2000) });
  }
};
