// The snapshots of a working copy: what each of them changed, and how to have it back.
import { el, moment, name, path, plain, sentence } from "./dom.js";
import { count, id } from "./words.js";

export const title = "Timeline";
const ROWS = 50;
const FILES = 30;
const LINES = 400;

export function draw({ state: all, own }) {
  const root = rootOf(all, own);
  return [
    el("h1", {}, "Timeline"),
    el("p", { class: "lead" }, "Each save is a snapshot, here and on the other devices; none of them is in your history. Restore a file or everything: what stands there now is recorded first, so that can be undone too."),
    root === null ? el("p", { class: "quiet" }, "No working copy is kept here that has snapshots.") : [
      choosers(all, own, root),
      refusal(own.refused),
      el("div", { class: "columns history" },
        list(own),
        el("section", { class: "card", id: "snapshot", tabindex: "-1", "aria-label": "Snapshot" }, own.picked ? snapshot(own) : el("p", { class: "quiet" }, own.rows ? "Choose a snapshot to see what it changed." : ""))),
    ],
  ];
}

const kept = (all) => all.workspaces.filter((one) => one.vcs === "git" || one.vcs === "hg");

function rootOf(all, own) {
  const roots = kept(all).map((one) => one.path);
  return roots.includes(own.root) ? own.root : roots[0] ?? null;
}

function refusal(error) {
  return error ? el("div", { class: "notice bad", role: "alert" }, el("p", {}, el("strong", {}, plain(error.message)), "."), el("p", {}, sentence(error.hint))) : null;
}

function choosers(all, own, root) {
  const several = kept(all);
  return el("div", { class: "choosers" },
    several.length > 1 ? el("label", {}, "Working copy ",
      el("select", { "data-choose": "chooseRoot" }, several.map((one) => el("option", { value: one.path, selected: one.path === root }, plain(one.name))))) : null,
    el("label", {}, "File or folder ",
      el("input", { type: "search", "data-choose": "choosePath", placeholder: "all of it", autocomplete: "off", spellcheck: "false" })),
    el("button", { type: "button", "data-do": "undo" }, "Undo the last change"));
}

// -- the list ----------------------------------------------------------------------------

function list(own) {
  return el("section", { class: "card snapshots", "aria-label": "Snapshots" },
    own.rows === undefined ? el("p", { class: "quiet" }, own.refused ? "" : "Asking for the snapshots …") : null,
    own.rows?.length === 0 ? el("p", { class: "quiet" }, "No snapshot of it is kept.") : null,
    own.rows?.length ? el("ol", {}, own.rows.map((row) => entry(row, own))) : null,
    own.before ? el("button", { type: "button", "data-do": "older" }, "Show older ones") : null);
}

function entry(row, own) {
  const picked = own.picked === row.snapshot;
  return el("li", { "data-key": row.snapshot },
    el("button", { type: "button", class: "row", "data-do": "pick", "data-snapshot": row.snapshot, "aria-pressed": String(picked) },
      el("span", { class: "first" },
        el("strong", {}, moment(row.at_ms)), " by ", name(row.device),
        row.current ? [" ", el("span", { class: "chip" }, "now")] : null,
        row.base_moved ? [" ", el("span", { class: "chip" }, "commit or checkout")] : null),
      el("span", { class: "quiet" }, row.readable ? summary(row.summary) : "cannot be shown: a commit was pruned"),
      el("span", { class: "quiet names" }, row.paths.slice(0, 3).map((one, n) => [n ? ", " : "", path(one.path)]))));
}

function summary(numbers) {
  const words = ["added", "changed", "deleted", "renamed"].filter((word) => numbers[word]).map((word) => `${numbers[word]} ${word}`);
  return words.join(", ") || "no file differs";
}

// -- one of them ----------------------------------------------------------------------------

const CHANGES = { added: ["+", "added"], changed: ["±", "changed"], deleted: ["−", "deleted"], renamed: ["→", "renamed"] };

function snapshot(own) {
  const row = own.rows.find((one) => one.snapshot === own.picked);
  if (!row) return el("p", { class: "quiet" }, "This snapshot is not kept any more.");
  return [
    el("div", {},
      el("h2", {}, moment(row.at_ms), " by ", name(row.device)),
      el("p", { class: "quiet" }, "Snapshot ", id(row.snapshot), ", tree ", id(row.tree), ", ", new Date(row.at_ms).toLocaleString(),
        row.made_ms && Math.abs(row.made_ms - row.at_ms) > 2000 ? `; made ${new Date(row.made_ms).toLocaleString()}` : "")),
    el("div", { class: "actions" },
      row.current ? null : el("button", { type: "button", "data-do": "restore", "data-at": row.snapshot, "data-file": own.path }, own.path ? "Restore it as it was here" : "Restore everything to this")),
    refusal(own.unshown),
    own.files ? own.files.map((file) => change(file, row)) : own.unshown ? null : el("p", { class: "quiet" }, "Comparing …"),
    own.files?.length === 0 ? el("p", { class: "quiet" }, "No file differs from the snapshot before.") : null,
    own.after ? el("button", { type: "button", "data-do": "moreFiles" }, "Show more files") : null,
  ];
}

function change(file, row) {
  const [sign, word] = CHANGES[file.change] ?? ["", file.change];
  const doer = (words, at, which) => el("button", { type: "button", "data-do": "restore", "data-at": at, "data-file": which },
    words, el("span", { class: "unseen" }, ` of ${plain(which)}`));
  return el("div", { class: "file", "data-key": file.path },
    el("div", { class: "head" },
      el("h3", {}, el("span", { class: `sign ${file.change}`, "aria-hidden": "true" }, sign), " ", path(file.path),
        el("span", { class: "quiet" }, ` ${word}`, file.old_path ? [" from ", path(file.old_path)] : null)),
      el("div", { class: "actions" },
        row.against && file.old_kind ? doer("Restore the version before", row.against, file.old_path ?? file.path) : null,
        !row.current && file.kind ? doer("Restore this version", row.snapshot, file.path) : null)),
    file.omitted ? el("p", { class: "quiet" }, OMITTED[file.omitted] ?? file.omitted) : hunks(file));
}

const OMITTED = {
  binary: "It is not text.",
  large: "It is too long to be compared here.",
  nested: "It is a repository of its own.",
  missing: "Its content is not on this device.",
};

function hunks(file) {
  const rows = [];
  for (const hunk of file.hunks ?? []) {
    let old = hunk.old_start;
    let fresh = hunk.new_start;
    if (rows.length) rows.push(el("tr", { class: "gap" }, el("td", { colspan: 4 }, "…")));
    for (const line of hunk.lines) {
      const sign = line[0];
      const kind = { "+": "plus", "-": "minus" }[sign] ?? "same";
      rows.push(el("tr", { class: kind },
        el("td", { class: "number" }, sign === "+" ? "" : old++),
        el("td", { class: "number" }, sign === "-" ? "" : fresh++),
        el("td", { class: "sign" }, sign === "+" ? "+" : sign === "-" ? "−" : ""),
        el("td", {}, el("code", {}, plain(line.slice(1).replace(/\n$/, ""))))));
    }
  }
  if (!rows.length) return null;
  const shown = rows.slice(0, LINES);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Changes of ${plain(file.path)}` },
    el("table", { class: "diff" },
      el("caption", { class: "unseen" }, "Changed lines: plus is new, minus is old"),
      el("tbody", {}, shown)),
    rows.length > shown.length ? el("p", { class: "quiet" }, `and ${count(rows.length - shown.length, "line")} more`) : null);
}

// -- asking ------------------------------------------------------------------------------

const place = (own) => ({ path: own.root, file: own.path ?? "" });

async function load(page, { older = false } = {}) {
  const { now } = page;
  const own = now.own;
  if (!now.state) return;
  own.root = rootOf(now.state, own);
  own.path ??= "";
  own.mark = newest(now);
  if (own.root === null) return;
  try {
    const answer = await page.ask("history", { ...place(own), limit: ROWS, before: older ? own.before : null });
    if (now.own !== own) return;
    own.rows = older ? [...own.rows, ...answer.rows] : answer.rows;
    own.before = answer.before;
    own.refused = null;
  } catch (error) {
    own.refused = error;
    if (!older) own.rows = [];
  }
  page.refresh();
}

const newest = (now) => now.activities.find((one) => ["saved", "applied", "committed"].includes(one.kind))?.number ?? 0;

async function compare(page, after = null) {
  const own = page.now.own;
  const picked = own.picked;
  try {
    const answer = await page.ask("diff", { ...place(own), from: "parent", to: picked, after, limit: FILES });
    if (own.picked !== picked) return;
    own.files = after ? [...own.files, ...answer.files] : answer.files;
    own.after = answer.after;
    own.unshown = null;
  } catch (error) {
    own.unshown = error;
  }
  page.refresh();
}

export const enter = (page) => void load(page);

/** Look again when something was recorded; who has asked for older ones keeps them. */
export function changed(page) {
  const { now } = page;
  const own = now.own;
  if (!now.state || (own.rows && (own.mark === newest(now) || own.rows.length > ROWS))) return;
  void load(page);
}

const told = (changes) => changes.slice(0, 8).map((one) => `${plain(one.path)} (${one.change})`).join(", ");

async function bringBack(page, question, details, doing) {
  const own = page.now.own;
  const rehearsed = await page.ask(question, { path: own.root, ...details, dry_run: true });
  if (!rehearsed.count) return page.toast("good", "Nothing is to be done: it is as it was then.");
  const more = rehearsed.count > 8 ? ` and ${rehearsed.count - 8} more` : "";
  const words = `${told(rehearsed.changes)}${more}. The other devices follow. What stands there now is recorded, and can be restored the same way.`;
  if (!(await page.sure(`${doing} ${count(rehearsed.count, "path")}?`, words, doing))) return null;
  const expected = details.file ? null : rehearsed.recorded; // of all of it, what was rehearsed or nothing
  const answer = await page.ask(question, { path: own.root, ...details, expected });
  const refused = Object.entries(answer.refused);
  for (const [which, why] of refused.slice(0, 3)) page.toast("bad", `${plain(which)} stays as it is: ${plain(why)}`);
  if (refused.length < answer.count) page.toast("good", `${count(answer.count - refused.length, "path is", "paths are")} as then.`);
  await load(page);
  return null;
}

export const deeds = {
  async chooseRoot(chooser, page) {
    page.now.own = { root: chooser.value };
    await load(page);
  },
  async choosePath(input, page) {
    const { root } = page.now.own;
    page.now.own = { root, path: input.value.trim().replace(/^\/+|\/+$/g, "") };
    await load(page);
  },
  older: (_button, page) => load(page, { older: true }),
  async pick(button, page) {
    const own = page.now.own;
    Object.assign(own, { picked: button.dataset.snapshot, files: undefined, after: null, unshown: null });
    page.refresh();
    await compare(page);
    document.getElementById("snapshot").focus();
  },
  moreFiles: (_button, page) => compare(page, page.now.own.after),
  restore: (button, page) => bringBack(page, "restore", { file: button.dataset.file, at: button.dataset.at }, "Restore"),
  undo: (_button, page) => bringBack(page, "undo", {}, "Undo"),
};
