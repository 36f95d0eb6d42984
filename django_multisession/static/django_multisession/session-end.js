// Warns before the session ends, lets people stay, and goes to the login page at the end.
//
// It is configured by the data attributes of its script element; {% session_end_warning %} writes them.
// It asks the server when the warning is due and when the time is up, and believes only the server that
// the session is over: clocks stop while a machine sleeps, and an outage logs no one out.
(() => {
  "use strict";

  // Not document.currentScript: an image of that name in the page's content would hide it.
  const script = Object.getOwnPropertyDescriptor(Document.prototype, "currentScript").get.call(document);
  const data = script.dataset;
  const RETRY = 5000, SLOWEST_RETRY = 60000, LONGEST_TIMER = 24 * 3600 * 1000;
  const channel = "BroadcastChannel" in window
    ? new BroadcastChannel(`multisession:${new URL(data.url, location).href}`)
    : null;
  const tell = (message) => channel && channel.postMessage(message);

  if ("loggedOut" in data) {
    // A page without a user: tabs that still show one look whether they are logged out.
    tell({ over: true });
    return;
  }

  const seconds = (text) => (text === "" || text === null || text === undefined ? Infinity : 1000 * Number(text));
  // A page was use of the session: a warning that is due by then would never be over.
  const warnBefore = Math.min(1000 * (Number(data.warnBefore) || 120), seconds(data.idle) / 2);
  let token = data.csrfToken;
  let loginUrl = data.loginUrl;
  let idleEnd, finalEnd; // by this machine's clock
  let timer, ticker, retries = 0, request = null;
  let isStaying = false, isDismissed = false, hasLeft = false;

  const end = () => Math.min(idleEnd, finalEnd);
  const isFinal = () => finalEnd <= idleEnd;
  const left = () => end() - Date.now();

  // What is known

  function know(idle, absolute) {
    const before = end();
    idleEnd = Date.now() + seconds(idle);
    finalEnd = Date.now() + seconds(absolute);
    if (Math.abs(end() - before) > 2000) isDismissed = false;
    show();
  }

  function show() {
    clearTimeout(timer);
    const remaining = left();
    if (remaining === Infinity) return close();
    if (remaining > warnBefore) {
      close();
      timer = setTimeout(due, Math.min(remaining - warnBefore, LONGEST_TIMER));
      return;
    }
    if (!isDismissed) open();
    if (!request) timer = setTimeout(due, Math.max(remaining, 0) + 1000);
  }

  function due() {
    if (left() > warnBefore) return show();
    // Of several tabs, the one that is seen asks first, and tells the others.
    if (document.visibilityState === "visible") return ask();
    timer = setTimeout(() => (left() > warnBefore ? show() : ask()), 1000 + 2000 * Math.random());
  }

  // The server

  async function ask() {
    if (hasLeft || (request && request.isUse === isStaying)) return;
    clearTimeout(timer);
    const mine = (request = { isUse: isStaying });
    let answer;
    try {
      answer = await send(mine.isUse);
    } catch {
      answer = null;
    }
    if (request !== mine || hasLeft) return;
    request = null;
    if (!answer) return again();
    settle();
    if (!answer.logged_in) return leave();
    know(answer.idle, answer.absolute);
    tell({ idle: answer.idle, absolute: answer.absolute });
  }

  function settle() {
    isStaying = false;
    retries = 0;
    say("");
  }

  async function send(isUse) {
    const options = { credentials: "same-origin", cache: "no-store", headers: { Accept: "application/json" } };
    if (!isUse) {
      options.headers["X-Session-Poll"] = "1";
    } else {
      options.method = "POST";
      options.headers["X-CSRFToken"] = token;
    }
    let response = await fetch(data.url, options);
    if (isUse && response.status === 403) {
      // A login in another tab changed the token.
      await send(false);
      options.headers["X-CSRFToken"] = token;
      response = await fetch(data.url, options);
    }
    if (!response.ok || response.redirected) throw new Error(response.status);
    const answer = await response.json();
    token = answer.csrf_token || token;
    loginUrl = answer.login_url || loginUrl;
    return answer;
  }

  function again() {
    if (dialog.open) say(data.failed || "The server does not answer. Trying again…");
    const wait = Math.min(RETRY * 2 ** retries++, SLOWEST_RETRY);
    timer = setTimeout(ask, wait);
  }

  function leave() {
    hasLeft = true;
    clearTimeout(timer);
    tell({ over: true });
    const url = new URL(loginUrl, location);
    if (!["http:", "https:"].includes(url.protocol)) return;
    const isHere = url.origin === location.origin;
    url.searchParams.set("next", isHere ? location.pathname + location.search : location.href);
    location.assign(url);
  }

  // The dialog

  const dialog = document.createElement("dialog");
  const make = (name, attributes) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const title = make("h2", { id: "multisession-end-title" });
  const text = make("p", { id: "multisession-end-text" });
  const time = make("span", { role: "timer", "aria-live": "off" });
  const status = make("p", { role: "status" });
  const button = make("button", { type: "button", autofocus: "" });
  dialog.className = "multisession-end";
  dialog.setAttribute("role", "alertdialog");
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.setAttribute("aria-describedby", text.id);
  dialog.append(title, text, status, button);
  button.addEventListener("click", choose);
  dialog.addEventListener("cancel", (event) => {
    // Escape says that someone is there.
    event.preventDefault();
    choose();
  });

  function choose() {
    if (isFinal()) {
      isDismissed = true;
      return close();
    }
    isStaying = true;
    ask();
  }

  function say(message) {
    if (status.textContent !== message) status.textContent = message;
  }

  function open() {
    const words = isFinal()
      ? [data.finalTitle || "You are logged out soon",
         data.finalText || "Save your work. You are logged out in {time}, and can log in again then.",
         data.close || "Close"]
      : [data.title || "Are you still there?", data.text || "You are logged out in {time}.",
         data.stay || "Stay logged in"];
    const [before, after] = words[1].split("{time}");
    title.textContent = words[0];
    text.replaceChildren(before, time, after || "");
    button.textContent = words[2];
    tick();
    if (dialog.open) return;
    if (!dialog.isConnected) document.body.append(dialog);
    dialog.showModal();
    ticker = setInterval(tick, 1000);
  }

  function tick() {
    const remaining = Math.max(0, Math.ceil(left() / 1000));
    time.textContent = `${Math.floor(remaining / 60)}:${String(remaining % 60).padStart(2, "0")}`;
  }

  function close() {
    clearInterval(ticker);
    if (dialog.open) dialog.close();
  }

  // Other tabs, and a machine that slept

  if (channel) {
    channel.addEventListener("message", ({ data: message }) => {
      if (hasLeft) return;
      // Not believed: another tab may show what the browser kept of a page.
      if (message.over) return ask();
      request = null;
      settle();
      know(message.idle, message.absolute);
    });
  }

  function wake() {
    if (document.visibilityState === "visible" && left() <= warnBefore) ask();
  }
  for (const name of ["visibilitychange", "pageshow", "online", "focus"]) {
    (name === "visibilitychange" ? document : window).addEventListener(name, wake);
  }

  const [visit] = performance.getEntriesByType("navigation");
  know(data.idle, data.absolute);
  if (visit && visit.type === "back_forward") {
    // The browser may have kept the page: what it says may be old.
    ask();
  } else {
    // The page was use of the session: it goes on in the other tabs too.
    tell({ idle: data.idle, absolute: data.absolute });
  }
})();
