// Copying a passage with formulas copies their TeX.
document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (selection.isCollapsed) return;
  const piece = selection.getRangeAt(0).cloneContents();
  let formulas = [...piece.querySelectorAll("math[data-tex]")];
  if (!formulas.length) {
    const inside = selection.getRangeAt(0).commonAncestorContainer;
    const math = (inside.closest ? inside : inside.parentElement).closest("math[data-tex]");
    if (!math) return;
    piece.replaceChildren(math.cloneNode(true));
    formulas = [piece.firstChild];
  }
  for (const math of formulas) {
    const mark = math.getAttribute("display") === "block" ? "$$" : "$";
    math.replaceWith(mark + math.dataset.tex + mark);
  }
  event.clipboardData.setData("text/plain", piece.textContent);
  event.preventDefault();
});

// A double click on a formula selects the whole of it, ready to copy.
document.addEventListener("dblclick", (event) => {
  const math = event.target.closest("math[data-tex]");
  if (math) getSelection().selectAllChildren(math);
});

// What scrolls sideways can be reached, and scrolled, from the keyboard.
const reachable = () => {
  for (const line of document.querySelectorAll(".receipt-line")) {
    if (line.scrollWidth > line.clientWidth) line.tabIndex = 0;
  }
};
addEventListener("load", reachable);
document.addEventListener("toggle", reachable, true);

// On paper nothing is folded but the lists of what was refused; the ledger has them.
addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("details")) if (!box.closest(".receipt")) box.open = true;
});
