// Counts the deadlines down from what the server rendered. Without this script they stand still.
"use strict";

// A page out of the history shows who was logged in then. (A refused log-in would be sent again.)
const [visit] = performance.getEntriesByType("navigation");
addEventListener("pageshow", ({ persisted }) => {
  const isPast = persisted || visit?.type === "back_forward";
  if (isPast && !document.getElementById("log-in-error")) location.reload();
});

const news = document.getElementById("countdown-news");
const deadlines = {};

for (const countdown of document.querySelectorAll("[data-countdown]")) {
  const title = countdown.dataset.countdown;
  const clock = countdown.querySelector(".clock");
  const bar = countdown.querySelector("progress");
  let told = Infinity;

  const tick = () => {
    const left = Math.max(0, Math.ceil((deadlines[title] - Date.now()) / 1000));
    clock.textContent = left
      ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`
      : "ended";
    bar.value = left;
    countdown.classList.toggle("soon", left <= 60);
    // A screen reader hears of it twice, not every second.
    if (left === 0 && told > 0) news.textContent = `${title} time is over: the session has ended.`;
    else if (left <= 60 && told > 60) news.textContent = `${title} time: less than a minute left.`;
    told = left;
  };
  // From the page's own clock: the visitor's may be wrong, but it runs at the same pace.
  deadlines[title] = Date.now() + Number(countdown.dataset.seconds) * 1000;
  setInterval(tick, 250);
  tick();
}

// Another tab that loads a page uses the session too: its idle time restarts in all of them.
const countdowns = document.querySelector("[data-session]");
if (countdowns && deadlines.Idle) {
  const { session } = countdowns.dataset;
  const tabs = new BroadcastChannel("session");
  tabs.onmessage = ({ data }) => {
    if (data.session === session) deadlines.Idle = Math.max(deadlines.Idle, data.idle);
  };
  tabs.postMessage({ session, idle: deadlines.Idle });
}
