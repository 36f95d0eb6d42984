// Counts the deadlines down from what the server rendered. Without this script they stand still.
"use strict";

const news = document.getElementById("countdown-news");

for (const countdown of document.querySelectorAll("[data-countdown]")) {
  // From the page's own clock: the visitor's may be wrong, but it runs at the same pace.
  const endsAt = Date.now() + Number(countdown.dataset.seconds) * 1000;
  const clock = countdown.querySelector(".clock");
  const bar = countdown.querySelector("progress");
  let told = Infinity;

  const tick = () => {
    const left = Math.max(0, Math.ceil((endsAt - Date.now()) / 1000));
    clock.textContent = left
      ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`
      : "ended";
    bar.value = left;
    countdown.classList.toggle("soon", left <= 60);
    // A screen reader hears of it twice, not every second.
    const title = countdown.dataset.countdown;
    if (left === 0 && told > 0) news.textContent = `${title} time is over: the session has ended.`;
    else if (left <= 60 && told > 60) news.textContent = `${title} time: less than a minute left.`;
    told = left;
    if (left === 0) clearInterval(ticking);
  };
  const ticking = setInterval(tick, 250);
  tick();
}
