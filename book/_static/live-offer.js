// The button that starts Python in the page. All else of it is loaded when the reader presses.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-live-start]");
  if (!button || button.disabled) return;
  const offer = button.closest(".live-offer"), note = offer.querySelector(".live-note");
  if (location.protocol === "file:") {
    note.textContent = "A page opened from a file cannot start Python. It can on a site, and with make serve.";
    return;
  }
  button.disabled = true;
  const { up, main } = JSON.parse(offer.dataset.live);
  try {
    (await import(new URL(main, new URL(up, location.href)))).start(offer);
  } catch {
    button.disabled = false;
    note.textContent = "The scripts for this did not come. Is there a connection? Press again to try again.";
  }
});
