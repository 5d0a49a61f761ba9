// The settings as they are, each with the place in which it is changed.
import { el, name, path, plain, sentence } from "./dom.js";

export const title = "Settings";

export function draw(now) {
  const { settings, refused } = now.own;
  return [
    el("h1", {}, "Settings"),
    refused ? trouble(refused.message, refused.hint) : null,
    settings?.problem ? trouble(settings.problem.title, settings.problem.hint) : null,
    settings ? known(settings) : refused ? null : el("p", { class: "quiet" }, "Reading the configuration …"),
  ];
}

const trouble = (words, hint) =>
  el("div", { class: "notice bad" }, el("p", {}, el("strong", {}, plain(words)), "."), el("p", {}, sentence(hint)));

function known({ source, groups }) {
  return [
    el("p", { class: "lead" }, "They are changed in ", path(source), "; then ", el("code", {}, "autosync reload"), " takes up what is new, and says what needs a restart. Secrets are not shown."),
    groups.map((group, n) => el("section", { class: "card", "data-key": `g${n}`, "aria-label": group.title },
      el("h2", {}, name(group.title)),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Settings: ${group.title}` },
        el("table", { class: "settings" },
          el("thead", {}, el("tr", {}, ["Key", "Value", "Place"].map((head) => el("th", { scope: "col" }, head)))),
          el("tbody", {}, group.rows.map((row) => setting(row, source))))))),
  ];
}

function setting({ key, value, file, line }, source) {
  const own = file !== source;
  return el("tr", { class: line || own ? "written" : null },
    el("th", { scope: "row" }, el("code", {}, key)),
    el("td", {}, plain(value)),
    el("td", { class: "quiet" }, own ? path(file) : line ? `line ${line}` : "default"));
}

export async function enter(page) {
  const own = page.now.own;
  try {
    own.settings = await page.ask("settings");
  } catch (error) {
    own.refused = error;
  }
  page.refresh();
}
