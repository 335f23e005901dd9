/* What the pages do besides htmx. Without it, all works but the live updates. */
"use strict";

// Tell the server the browser's time zone, once, if the viewer never chose one.
const guess = document.querySelector("[data-guess-time-zone]");
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (guess && zone) {
  fetch(guess.dataset.guessTimeZone, {
    method: "POST",
    headers: { "X-CSRFToken": guess.querySelector("[name=csrfmiddlewaretoken]").value },
    body: new URLSearchParams({ time_zone: zone }),
  });
}

// Nobody reads a hidden tab: don't ask what is new. On its return htmx asks at once.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "live" && document.hidden) event.preventDefault();
});

// What had the focus is gone with the old list: go on from the beginning of the new one.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "feed" && document.activeElement === document.body) {
    document.getElementById("feed").focus({ preventScroll: true });
  }
});

// A field to copy from is selected as a whole.
document.addEventListener("focusin", (event) => {
  if (event.target.matches("input[readonly]")) event.target.select();
});

// Buttons that copy a field or a command; without a clipboard there are none.
document.documentElement.classList.toggle("has-clipboard", Boolean(navigator.clipboard));
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(source.value ?? source.innerText);
  button.textContent = "Copied";
});
