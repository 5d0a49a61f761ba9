// Conflicts: both versions side by side, and which of them is to be kept.
import { el, moment, name, path, plain } from "./dom.js";
import { count, size, state } from "./words.js";

export const title = "Conflicts";

/** The path under which the agent keeps the working copy: what leads to `root` may be a link. */
const keptAt = (row, now) => now.state.workspaces.find((one) => one.name === row.workspace)?.path ?? row.root;

const SHOWN = 20;
const keyOf = (row) => `${row.root}\n${row.copy}`;

export function draw(now) {
  const rows = now.state.conflicts;
  return [
    el("h1", {}, "Conflicts"),
    rows.length
      ? el("p", { class: "lead" }, `Two devices changed the same thing before they heard of each other. Both versions are kept as files; choose, and the other devices follow. What goes stays in the snapshots.`)
      : el("p", { class: "lead" }, state("good", "No conflict. Both versions of a file would be shown here, side by side.")),
    rows.slice(0, SHOWN).map((row) => conflict(row, now)),
    rows.length > SHOWN ? el("p", { class: "quiet" }, `${count(rows.length - SHOWN, "more conflict is", "more conflicts are")} shown when these are finished.`) : null,
  ];
}

/** The copy that bears this device's name is mine, otherwise what has the file's own name. */
const isMineTheCopy = (row, device) => row.device === device && row.stands.device !== device;

function conflict(row, now) {
  const mine = isMineTheCopy(row, now.state.device);
  const stands = { file: row.file, by: row.stands.device, kind: row.stands.kind, words: "has the file's name" };
  const copy = { file: row.copy, by: row.device, kind: "file", words: "stands beside it" };
  const [left, right] = mine ? [copy, stands] : [stands, copy];
  const versions = now.own[keyOf(row)];
  const sides = versions && (mine ? [versions.right, versions.left] : [versions.left, versions.right]);
  return el("section", { class: "card conflict", "data-key": keyOf(row), "aria-label": `Conflict of ${plain(row.file)}` },
    el("div", { class: "head" },
      el("div", {}, el("h2", {}, path(row.file)), el("p", { class: "quiet" }, name(row.workspace), ", ", moment(row.time))),
      state("warn", "Two versions")),
    el("div", { class: "sides" },
      side("Mine", left, sides?.[0]),
      side("Theirs", right, sides?.[1])),
    versions ? compared(versions, mine, row) : el("p", { class: "quiet" }, "Reading both versions …"),
    el("div", { class: "actions" },
      keep(row, now, "mine", "Keep mine"),
      keep(row, now, "theirs", "Keep theirs"),
      keep(row, now, "both", "Keep both")));
}

const keep = (row, now, which, words) =>
  el("button", { type: "button", "data-do": "keep", "data-keep": which, "data-path": keptAt(row, now), "data-file": row.copy },
    words, el("span", { class: "unseen" }, ` of ${plain(row.file)}`));

function side(words, one, read) {
  return el("div", { class: "side" },
    el("h3", {}, words, one.by ? [" ", el("span", { class: "quiet" }, "by ", name(one.by))] : null),
    el("p", { class: "quiet" }, path(one.file), ` ${one.words}`),
    read && read.bytes !== null ? el("p", { class: "quiet" }, size(read.bytes), ", changed ", moment(read.modified * 1000)) : null);
}

const UNSHOWN = {
  binary: "is not text",
  large: "is too long to be shown here",
  link: "is a symbolic link",
  folder: "is a folder",
  other: "is no file",
  gone: "is gone",
};

function compared(versions, mine, row) {
  if (versions.refused) return el("p", { class: "quiet" }, versions.refused);
  if (!versions.rows) {
    const why = [versions.left, versions.right].map(({ kind }) => UNSHOWN[kind]).filter(Boolean);
    return el("p", { class: "quiet" }, `Nothing to compare line by line: one of them ${why[0]}.`);
  }
  if (!versions.rows.length) return el("p", { class: "quiet" }, "Both have the same content.");
  const differ = versions.rows.filter(([kind]) => kind === "changed").length;
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Both versions of ${plain(row.file)}, ${count(differ, "line differs", "lines differ")}` },
    el("table", { class: "compare" },
      el("caption", { class: "unseen" }, "Mine on the left, theirs on the right; lines that differ are marked"),
      el("colgroup", {}, ["sign", "number", "", "number", ""].map((kind) => el("col", { class: kind }))),
      el("thead", { class: "unseen" }, el("tr", {}, ["", "Line", "Mine", "Line", "Theirs"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, versions.rows.map((line) => (mine ? [line[0], line[3], line[4], line[1], line[2]] : line)).map(lines))));
}

function lines([kind, first, left, second, right]) {
  if (kind === "left out") return el("tr", { class: "gap" }, el("td", { colspan: 5 }, "Equal lines are left out"));
  const differs = kind === "changed";
  return el("tr", { class: kind },
    el("td", { class: "sign" }, differs ? el("span", { title: "differs" }, "≠", el("span", { class: "unseen" }, " differs")) : ""),
    el("td", { class: "number" }, first ?? ""),
    el("td", { class: first === null ? "none" : null }, el("code", {}, plain(left))),
    el("td", { class: "number" }, second ?? ""),
    el("td", { class: second === null ? "none" : null }, el("code", {}, plain(right))));
}

/** Read both versions of what is new in the list, and of all again when something has happened. */
export async function changed(page) {
  const { now } = page;
  for (const row of now.state?.conflicts.slice(0, SHOWN) ?? []) {
    const mark = now.activities[0]?.number ?? 0;
    const own = now.own;
    const known = own[keyOf(row)];
    if (known && known.mark === mark) continue;
    own[keyOf(row)] = { ...(known ?? { refused: "Reading both versions …" }), mark };
    try {
      own[keyOf(row)] = { ...(await page.ask("versions", { path: keptAt(row, now), file: row.file, copy: row.copy })), mark };
    } catch (error) {
      own[keyOf(row)] = { refused: `${error.message}.`, mark };
    }
    page.refresh();
  }
}

export const enter = (page) => void changed(page);

export const deeds = {
  async keep(button, page) {
    const { keep: which, path: root, file } = button.dataset;
    const answer = await page.ask("resolve", { path: root, file, keep: which });
    if (answer.choose) {
      page.toast("warn", "There are more than two versions.", "Each is listed here: choose between two at a time.");
      return;
    }
    const words = which === "both" ? "Both are kept, each under a name of its own." : `${plain(answer.file)}: kept ${which}.`;
    page.toast("good", words);
    document.getElementById("main").focus();
  },
};
