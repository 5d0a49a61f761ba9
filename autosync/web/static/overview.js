// The first view: whether all is well, each working copy with its devices, and what happens.
import { el, moment, name, path, plain, sentence } from "./dom.js";
import { count, id, lane, latency, phase, standing, state, summary, way } from "./words.js";

export const title = "Overview";
const SHOWN = 60;

export function draw(now) {
  const [tone, words, rest] = summary(now.state);
  return [
    el("h1", { class: "unseen" }, "Overview"),
    el("section", { class: `summary ${tone}`, "aria-label": "In short" },
      el("p", { class: "big" }, state(tone, words)),
      rest ? el("p", { class: "quiet" }, rest) : null,
      el("ul", { class: "channels", "aria-label": "Channels" }, now.state.channels.map(channel))),
    el("div", { class: "columns" },
      el("div", {}, now.state.workspaces.map((one) => workspace(one, now))),
      activity(now)),
  ];
}

const CHANNELS = { lan: "Local network", xmpp: "XMPP", reflector: "Reflector", fanout: "Fanout" };
const TONES = { online: "good", connecting: "busy" };

function channel(one) {
  const words = `${CHANNELS[one.kind] ?? one.kind} ${one.state}`;
  return el("li", {}, state(TONES[one.state] ?? "warn", words), one.detail ? el("span", { class: "quiet" }, ` ${plain(one.detail)}`) : null);
}

// -- working copies ----------------------------------------------------------------------

function workspace(one, now) {
  const [tone, word, words] = phase(one);
  const label = `w-${one.path}`;
  return el("section", { class: "card", "data-key": one.path, "aria-label": one.name },
    el("div", { class: "head" },
      el("div", {},
        el("h2", {}, name(one.name)),
        el("p", { class: "quiet where" }, path(one.path))),
      state(tone, word)),
    one.halt ? halt(one) : null,
    el("p", { class: "says" }, says(one, words)),
    facts(one),
    devices(one, label),
    notes(one, now),
    el("div", { class: "actions" },
      el("button", { type: "button", "data-do": "sync", "data-path": one.path }, "Sync now", unseenName(one)),
      one.phase === "paused"
        ? el("button", { type: "button", "data-do": "resume", "data-path": one.path }, "Resume", unseenName(one))
        : el("button", { type: "button", "data-do": "pause", "data-path": one.path }, "Pause", unseenName(one))));
}

const unseenName = (one) => el("span", { class: "unseen" }, ` ${plain(one.name)}`);

function says(one, words) {
  if (one["waiting-for"]) return ["It waits: ", sentence(one["waiting-for"].replace(/\.?$/, "."))];
  if (one.pending) return `${count(one.pending, "change is", "changes are")} not recorded yet.`;
  return words;
}

function halt(one) {
  return el("div", { class: "notice bad" },
    el("p", {}, el("strong", {}, plain(one.halt.title)), "."),
    el("p", {}, sentence(one.halt.hint)),
    one.trust?.revoked ? null : el("button", { type: "button", "data-do": "resume", "data-path": one.path }, "Try again now"));
}

function facts(one) {
  const base = one.base ? [one.branch ? [name(branch(one.branch)), " at "] : null, id(one.base)] : null;
  const rows = [
    ["Kept by", { git: "git", hg: "Mercurial", command: "commands" }[one.vcs] ?? one.vcs],
    ["Base", base],
    ["Tree", one.tree ? id(one.tree) : null],
    ["Last in sync", moment(one["last-sync"])],
    ["Mode", one.mode === "two-way" ? null : one.mode],
  ];
  return el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([term, value]) =>
    el("div", {}, el("dt", {}, term), el("dd", {}, value))));
}

const branch = (full) => full.replace(/^refs\/heads\//, "");

function devices(one, label) {
  if (one.devices.length < 2) return el("p", { class: "quiet" }, "No other device has joined yet.");
  const heads = ["Device", "State", "Tree", "Confirmed", "Reached by"];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Devices of ${one.name}` },
    el("table", { class: "devices" },
      el("caption", { class: "unseen" }, "Devices, the tree that each said it has, and when it last confirmed the one that is here"),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, one.devices.map((device) => row(device, one)))));
}

function row(device, one) {
  const [tone, words] = standing(device, one);
  return el("tr", { "data-key": device.id },
    el("th", { scope: "row" }, name(device.device, { title: device.id })),
    el("td", {}, state(tone, words), device.problem ? el("div", { class: "quiet" }, plain(device.problem)) : null, device.hook ? el("div", {}, state("bad", plain(device.hook))) : null, clock(device), moves(device)),
    el("td", { "data-label": "Tree" }, id(device.tree)),
    el("td", { "data-label": "Confirmed" }, device.this ? "" : moment(device.confirmed)),
    el("td", { "data-label": "Reached by" }, device.this || !way(device) ? "" : el("span", { title: device.why }, way(device))));
}

function clock(device) {
  const ahead = device["clock-ahead"];
  return ahead ? el("div", { class: "quiet" }, `its clock is ${count(Math.abs(ahead), "second")} ${ahead > 0 ? "ahead" : "behind"}`) : null;
}

const moves = (device) => (device.transfers ?? []).map((transfer) =>
  el("div", { class: "quiet" }, `${transfer.direction === "in" ? "receiving" : "sending"} ${Math.round(transfer.bytes / 1000)} kB`));

function notes(one, now) {
  const waiting = now.state.conflicts.filter((conflict) => conflict.workspace === one.name).length;
  const lines = [
    waiting ? ["warn", el("a", { href: "#/conflicts" }, `Look at ${count(waiting, "conflict")}`)] : null,
    one.held.count ? ["warn", el("a", { href: "#/held" }, `Look at ${count(one.held.count, "held path")}`)] : null,
    one.unreadable.length ? ["warn", `Left out, for they cannot be read: ${one.unreadable.map(plain).slice(0, 5).join(", ")}`] : null,
    one.trust?.dispute ? ["bad", plain(one.trust.dispute)] : null,
    ...(one.presence ?? []).slice(0, 3).map((sight) => ["idle", plain(sight.text)]),
  ].filter(Boolean);
  return lines.length ? el("ul", { class: "notes" }, lines.map(([tone, line]) => el("li", {}, state(tone, ""), " ", line))) : null;
}

// -- what happens ------------------------------------------------------------------------

function activity(now) {
  return el("section", { class: "card activity", "aria-label": "Activity" },
    el("h2", {}, "Activity"),
    now.activities.length
      ? el("ol", { tabindex: "0", "aria-label": "What happened, the latest first" }, now.activities.slice(0, SHOWN).map((one) => happened(one, now.state.workspaces.length > 1)))
      : el("p", { class: "quiet" }, "Nothing has happened since the agent started. Save a file, and see it here."));
}

const KINDS = {
  saved: ["good", "Saved"],
  applied: ["good", "Arrived"],
  committed: ["good", "Committed"],
  conflict: ["warn", "Conflict"],
  told: ["warn", "Note"],
  presence: ["idle", "Presence"],
  moving: ["busy", "Moving"],
  moved: ["good", "Moved"],
  "hook-failed": ["bad", "Hook failed"],
  "hook-recovered": ["good", "Hook works again"],
};
const OF_FILES = new Set(["saved", "applied", "committed"]);

function happened(one, several) {
  const [tone, word] = KINDS[one.kind] ?? ["idle", plain(one.kind)];
  return el("li", { "data-key": `a${one.number}`, class: one.kind },
    el("div", { class: "what" }, state(tone, word),
      one.kind === "applied" && one.text ? [" from ", name(one.text)] : null,
      " ", moment(one.at_ms)),
    el("div", {}, subject(one)),
    el("p", { class: "chips" },
      several && one.workspace ? name(one.workspace, { class: "chip" }) : null,
      one.lane ? el("span", { class: "chip" }, lane(one.lane)) : null,
      typeof one.latency_ms === "number" ? el("span", { class: "chip", title: "from the announcement's arrival here until it stood in the working copy" }, latency(one.latency_ms)) : null));
}

function subject(one) {
  if (!OF_FILES.has(one.kind)) return sentence(one.text);
  if (!one.paths.length) return one.kind === "applied" ? "its state; no file differs" : one.text ? ["the state at ", id(one.text)] : "the first state";
  const rest = one.count - one.paths.length;
  return [one.paths.map((file, n) => [n ? ", " : "", path(file)]), rest > 0 ? ` and ${rest} more` : ""];
}

/** Return an activity as a sentence to be spoken. */
export function said(one) {
  const [, word] = KINDS[one.kind] ?? ["", one.kind];
  if (!OF_FILES.has(one.kind)) return `${word}: ${plain(one.text)}`;
  const from = one.kind === "applied" && one.text ? ` from ${plain(one.text)}` : "";
  return `${word}${from}: ${one.paths.length ? plain(one.paths[0]) : one.workspace}${one.count > 1 ? ` and ${one.count - 1} more` : ""}`;
}

const steer = (question, done) => async (button, page) => {
  await page.ask(question, { path: button.dataset.path });
  page.toast("good", done);
};

export const deeds = {
  sync: steer("sync", "What is pending is being sent."),
  pause: steer("pause", "Paused."),
  resume: steer("resume", "It goes on."),
};
