// Puts the page together: which view is shown, what it is told, and what the user does.
import { Refusal, ask } from "./ask.js";
import * as conflicts from "./conflicts.js";
import { el, plain, sentence, show, tick } from "./dom.js";
import * as held from "./held.js";
import { follow } from "./live.js";
import * as overview from "./overview.js";
import * as settings from "./settings.js";
import * as timeline from "./timeline.js";
import { count, state } from "./words.js";

const VIEWS = { overview, timeline, conflicts, held, settings };
const REMEMBERED = 200;
const SPOKEN = 3;
const main = document.getElementById("main");

/** What all views are made from.  `own` belongs to the view that is shown. */
const now = { state: null, stopped: null, connected: null, activities: [], own: {} };
let view = "overview";
let due = 0;

// -- showing ---------------------------------------------------------------------------

/** Show what has changed, once for all that changes at a time. */
function refresh() {
  due ||= requestAnimationFrame(() => {
    due = 0;
    draw();
  });
}

function draw() {
  document.getElementById("device").textContent = now.state ? now.state.device : "";
  drawLine();
  drawViews();
  show(main, now.state || now.stopped ? body() : el("p", { class: "quiet" }, "Asking the agent …"));
  document.title = `${title()} – autosync`;
  tick(main);
}

function body() {
  const views = now.stopped && view !== "settings" ? stopped() : VIEWS[view].draw(now);
  return now.connected === false ? [left(), views] : views;
}

const left = () => el("section", { class: "notice bad", "data-key": "left", "aria-label": "This page is not served any more" },
  el("p", {}, el("strong", {}, "This page is not served any more"), ": what it shows may be old."),
  el("p", {}, "Open it again with ", el("code", {}, "autosync web --open"), "."));

function title() {
  if (now.stopped) return plain(now.stopped.title);
  const waiting = now.state ? now.state.conflicts.length : 0;
  return `${waiting ? `(${waiting}) ` : ""}${VIEWS[view].title}`;
}

function stopped() {
  const { title: words, hint, start } = now.stopped;
  return [
    el("h1", {}, plain(words)),
    start
      ? el("section", { class: "card", "aria-label": "What to do" },
        el("p", {}, "Start it in a terminal, or at login with ", el("code", {}, "autosync install-service"), ":"),
        el("pre", { class: "command", tabindex: "0", "aria-label": "Command" }, el("code", {}, plain(start))),
        el("p", { class: "quiet" }, "Your files are as they are. This page goes on by itself as soon as the agent is back."))
      : el("section", { class: "notice bad", "aria-label": "What to do" }, el("p", {}, sentence(hint))),
  ];
}

function drawLine() {
  const [tone, words] = !now.connected
    ? now.connected === null ? ["idle", "Connecting"] : ["bad", "Page not served"]
    : now.stopped ? ["bad", now.stopped.start ? "Agent not running" : "Agent gives no answer"] : ["good", "Live"];
  const line = document.getElementById("line");
  line.className = `line ${tone}`;
  document.getElementById("line-words").textContent = words;
}

function drawViews() {
  const counts = now.state
    ? { conflicts: now.state.conflicts.length, held: now.state.workspaces.reduce((sum, w) => sum + w.held.count, 0) }
    : {};
  show(document.getElementById("views"), el("ul", {}, Object.entries(VIEWS).map(([key, { title: words }]) =>
    el("li", { "data-key": key },
      el("a", { href: `#/${key}`, "aria-current": key === view ? "page" : null },
        words, counts[key] ? [" ", el("span", { class: "badge" }, counts[key])] : null)))));
}

// -- telling ---------------------------------------------------------------------------

/** Tell somebody who listens to the page what another sees on it. */
function tell(words) {
  document.getElementById("told").textContent = words;
}

/** Show for a while what came of something. */
function toast(tone, words, hint = "") {
  const note = el("div", { class: `toast ${tone}` },
    el("div", {}, el("p", {}, state(tone, words)), hint ? el("p", { class: "quiet" }, sentence(hint)) : null),
    el("button", { type: "button", class: "plain", "data-do": "dismiss" }, "Dismiss"));
  const all = document.getElementById("toasts");
  all.append(note);
  while (all.children.length > 3) all.firstChild.remove();
  if (tone === "good") setTimeout(() => note.remove(), 6000);
  tell(`${words} ${hint}`);
}

/** Ask whether something is meant; resolves to true or false. */
function sure(words, text, doing) {
  const dialog = document.getElementById("sure");
  show(dialog, el("form", { method: "dialog" },
    el("h2", { id: "sure-title" }, words),
    el("p", { id: "sure-text" }, text),
    el("div", { class: "actions" },
      el("button", { value: "no", class: "plain" }, "Cancel"),
      el("button", { value: "yes", class: "strong" }, doing))));
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// -- doing -----------------------------------------------------------------------------

const page = { now, ask, refresh, sure, toast, tell };

const DEEDS = {
  skip: () => main.focus(),
  dismiss: (button) => button.closest(".toast").remove(),
  ...Object.assign({}, ...Object.values(VIEWS).map((one) => one.deeds ?? {})),
};

document.addEventListener("click", async (event) => {
  const doer = event.target.closest("[data-do]");
  if (!doer) return;
  if (doer.dataset.do === "skip") event.preventDefault();
  if (doer.getAttribute("aria-disabled") === "true") return;
  doer.setAttribute("aria-disabled", "true");
  try {
    await DEEDS[doer.dataset.do](doer, page);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    toast("bad", `${error.message}.`, error.hint);
  } finally {
    doer.removeAttribute("aria-disabled");
  }
});

document.addEventListener("change", (event) => {
  const chooser = event.target.closest("[data-choose]");
  if (chooser) DEEDS[chooser.dataset.choose](chooser, page);
});

function go() {
  const wanted = location.hash.replace(/^#\//, "").split("?")[0];
  view = wanted in VIEWS ? wanted : "overview";
  now.own = {};
  VIEWS[view].enter?.(page);
  show(main); // nothing of the last view stays
  draw();
}

addEventListener("hashchange", () => {
  go();
  main.focus();
  scrollTo(0, 0);
});

follow({
  line(connected) {
    now.connected = connected;
    if (!connected) tell("This page's server does not answer.");
    refresh();
  },
  state(state) {
    const before = now.stopped;
    now.stopped = state.stopped ?? null;
    now.state = state.stopped ? null : state;
    if (now.stopped && now.stopped.title !== before?.title) tell(`${now.stopped.title}.`);
    if (!now.stopped && before) tell("The agent answers again.");
    VIEWS[view].changed?.(page);
    refresh();
  },
  activity(list) {
    const first = now.activities.length === 0;
    const last = now.activities[0]?.number ?? 0;
    const fresh = list.filter((one) => one.number > last).reverse();
    now.activities = [...fresh, ...now.activities].slice(0, REMEMBERED);
    if (!first && fresh.length) tell(fresh.length <= SPOKEN ? fresh.map(overview.said).reverse().join(". ") : `${count(fresh.length, "thing")} happened.`);
    VIEWS[view].changed?.(page);
    refresh();
  },
});
setInterval(() => tick(main), 1000);
go();
