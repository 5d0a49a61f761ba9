// What is held back on this device, why, and how to let it go.
import { el, name, path, plain } from "./dom.js";
import { count, state } from "./words.js";

export const title = "Held back";
const SHOWN = 200;

export function draw(now) {
  const holding = now.state.workspaces.filter((one) => one.held.count);
  return [
    el("h1", {}, "Held back"),
    el("p", { class: "lead" }, holding.length
      ? "These stay on this device until you let them go: they look like an accident, or like a secret. Everything else goes on."
      : state("good", "Nothing is held back. Mass deletions, huge files and what looks like a secret would wait here for you.")),
    holding.map(workspace),
  ];
}

function workspace(one) {
  const reasons = grouped(one.held.paths);
  return el("section", { class: "card", "data-key": one.path, "aria-label": one.name },
    el("div", { class: "head" },
      el("div", {}, el("h2", {}, name(one.name)), el("p", { class: "quiet where" }, path(one.path))),
      state("warn", count(one.held.count, "path"))),
    [...reasons].map(([reason, rows]) => because(one, reason, rows)),
    el("div", { class: "actions" },
      el("button", { type: "button", "data-do": "release", "data-path": one.path, "data-count": one.held.count }, "Release all"),
      one.held.reasons.deletion
        ? el("button", { type: "button", "data-do": "bringBack", "data-path": one.path }, "Bring all deleted files back")
        : null));
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.reason, [...(found.get(row.reason) ?? []), row]);
  return found;
}

function because(one, reason, rows) {
  const total = one.held.reasons[reason] ?? rows.length;
  const shown = rows.slice(0, SHOWN);
  return el("div", { "data-key": reason },
    el("h3", {}, total === 1 ? `1 path, which ${rows[0].text}` : `${total} paths, each of which ${rows[0].text}`),
    el("ul", { class: "rows" }, shown.map((row) =>
      el("li", { "data-key": row.path }, path(row.path),
        el("span", { class: "actions" },
          reason === "deletion" ? doer("bringBack", one, row, "Bring back") : null,
          doer("release", one, row, reason === "deletion" ? "Delete everywhere" : "Release"))))),
    total > shown.length ? el("p", { class: "quiet" }, `and ${total - shown.length} more`) : null);
}

const doer = (deed, one, row, words) =>
  el("button", { type: "button", "data-do": deed, "data-path": one.path, "data-file": row.path },
    words, el("span", { class: "unseen" }, ` ${plain(row.path)}`));

export const deeds = {
  async release(button, page) {
    const { path: root, file, count: number } = button.dataset;
    const what = file ? plain(file) : count(Number(number), "path");
    const text = "The other devices get it as it is here. What was sent cannot be called back.";
    if (!(await page.sure(`Release ${what}?`, text, "Release"))) return;
    const answer = await page.ask("release", { path: root, file: file ?? "", expected: file ? null : Number(number) });
    page.toast("good", `${count(answer.released, "path is", "paths are")} released.`);
  },
  async bringBack(button, page) {
    const { path: root, file } = button.dataset;
    const answer = await page.ask("release", { path: root, file: file ?? "", restore: true });
    const refused = Object.entries(answer.refused);
    if (answer.released) page.toast("good", `${count(answer.released, "file is", "files are")} back.`);
    for (const [which, why] of refused.slice(0, 3)) page.toast("bad", `${plain(which)} was not brought back: ${plain(why)}`);
  },
};
