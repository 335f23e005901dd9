/* Page behavior that htmx doesn't provide. All pages work without JavaScript, but they have no live updates. */
"use strict";

// The texts of this file are attributes of its script element, so that they are translated.
const texts = document.currentScript.dataset;

// Send the browser's time zone to the server if it is new there and the user has not chosen one.
const guess = document.querySelector("[data-guess-time-zone]");
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (guess && zone && zone !== guess.dataset.timeZone) {
  fetch(guess.dataset.guessTimeZone, {
    method: "POST",
    headers: { "X-CSRFToken": guess.querySelector("[name=csrfmiddlewaretoken]").value },
    body: new URLSearchParams({ time_zone: zone }),
  });
}

// Don't poll for new events in a hidden tab. htmx polls immediately when the tab becomes visible again.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "live" && document.hidden) event.preventDefault();
});

// If the focused element was removed with the old list, focus the new list.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "events" && document.activeElement === document.body) {
    document.getElementById("events").focus({ preventScroll: true });
  }
});

// A chosen range replaces a custom range. This runs before htmx submits the form.
document.addEventListener("change", (event) => {
  if (event.target.id !== "range" || event.target.value === "custom") return;
  for (const input of event.target.form.querySelectorAll(".custom-range input")) input.value = "";
}, true);

// Select the whole text of read-only fields on focus, so that it is easy to copy.
document.addEventListener("focusin", (event) => {
  if (event.target.matches("input[readonly]")) event.target.select();
});

const COPIED_FOR = 2000; // milliseconds

// Copy buttons. CSS hides them if the clipboard is not available.
document.documentElement.classList.toggle("has-clipboard", Boolean(navigator.clipboard));
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-text]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(button.dataset.copyText ?? source.value ?? source.innerText);
  const text = button.textContent;
  if (text === texts.copied) return;
  button.textContent = texts.copied;
  setTimeout(() => { button.textContent = text; }, COPIED_FOR);
});
