// Says in words, and with a mark that is not only a colour, what the agent's values mean.
import { el, plain } from "./dom.js";

/** The tones: what mark and colour something has. */
const MARKS = { good: "✓", busy: "↻", idle: "–", warn: "!", bad: "✕" };

/** Return a state as mark and word. */
export const state = (tone, words) =>
  el("span", { class: `state ${tone}` }, el("span", { class: "mark", "aria-hidden": "true" }, MARKS[tone]), words);

const PHASES = {
  watching: ["good", "Up to date", "Everything saved here is recorded."],
  settling: ["busy", "Settling", "A file is still being written."],
  snapshotting: ["busy", "Recording", "What was saved is being recorded."],
  applying: ["busy", "Applying", "What came from another device is being put in place."],
  fetching: ["busy", "Fetching", "What another device has is on its way here."],
  waiting: ["warn", "Waiting", ""],
  paused: ["idle", "Paused", "Nothing is sent and nothing is applied until you resume it."],
  halted: ["bad", "Halted", "Nothing is exchanged until this is mended."],
  stopped: ["idle", "Stopped", ""],
  record: ["busy", "Recording", "What was saved is being committed by its commands."],
  pull: ["busy", "Pulling", "What the others pushed is being pulled."],
  push: ["busy", "Pushing", "What was committed is being pushed."],
};

/** Return tone, word and sentence for what a working copy is at. */
export function phase(workspace) {
  if (workspace.halt) return PHASES.halted;
  const [tone, word, sentence] = PHASES[workspace.phase] ?? ["busy", workspace.phase, ""];
  if (workspace.phase === "watching" && workspace.held.count) return ["warn", "Holding back", "Some of it is not sent: it is held back."];
  if (workspace.phase === "watching" && workspace.mode === "store") return ["good", "Keeping", "It keeps what the others send, and has no files."];
  return [tone, word, sentence];
}

const STANDINGS = {
  this: ["good", "this device"],
  equal: ["good", "holds the same tree"],
  ahead: ["busy", "has something newer"],
  behind: ["busy", "has not confirmed yet"],
  diverged: ["busy", "being merged"],
  unknown: ["idle", "not known yet"],
  away: ["idle", "out of reach"],
  paused: ["idle", "paused there"],
  halted: ["bad", "halted there"],
  revoked: ["idle", "revoked"],
};

/** Return how a device's tree stands to this one's. */
export function standing(device, workspace) {
  const [tone, words] = STANDINGS[device.state] ?? ["idle", device.state];
  const but = device.state === "equal" && workspace.held.count;
  return but ? ["warn", `the same but for ${workspace.held.count} held here`] : [tone, words];
}

const WAYS = {
  lan: "local network",
  public: "its public address",
  ssh: "ssh",
  reflector: "reflector",
  xmpp: "XMPP",
  store: "the same store, on this machine",
};

/** Return by which way a device is reached, and how far it is. */
export function way(device) {
  if (device.this || !device.kind) return "";
  const far = device["rtt-ms"] === null ? "" : `, ${latency(device["rtt-ms"])}`;
  return `${WAYS[device.kind] ?? device.kind}${far}`;
}

/** Return by which lane a snapshot came, without the id of the device that it came from. */
export const lane = (text) => plain(text).replace(/^peer .*/, "straight from the device").replace(/^hub .*/, "hub").replace(/^inline over /, "in the announcement, ").replace(/^store .*/, "the same store");

/** Return a number of milliseconds as people say it. */
export function latency(ms) {
  if (ms >= 10000) return `${Math.round(ms / 1000)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 1 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** Return a size. */
export function size(bytes) {
  let unit = 0;
  let left = bytes;
  while (left >= 1000 && unit < UNITS.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${unit && left < 10 ? left.toFixed(1) : Math.round(left)} ${UNITS[unit]}`;
}

/** Return "1 file" or "3 files". */
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** Return the beginning of an id, enough to compare it by eye; all of it is there for who points at it. */
export const id = (text) => (text ? el("code", { class: "id", title: text }, text.slice(0, 10)) : "–");

/** Return the sentence that sums it all up, with its tone and what more there is to say. */
export function summary(now) {
  const workspaces = now.workspaces;
  if (!workspaces.length) return ["idle", "Nothing is kept yet.", "Add a folder: autosync init PATH"];
  const halted = workspaces.filter((w) => w.halt);
  if (halted.length) return ["bad", `${count(halted.length, "working copy is", "working copies are")} halted.`, "What to do about it is said below."];
  const conflicts = now.conflicts.length;
  if (conflicts) return ["warn", `${count(conflicts, "conflict waits", "conflicts wait")} for you.`, "Both versions are kept; nothing else stops."];
  const held = workspaces.reduce((sum, w) => sum + w.held.count, 0);
  if (held) return ["warn", `${count(held, "path is", "paths are")} held back here.`, "The other devices do not have them as they are."];
  const others = workspaces.flatMap((w) => w.devices.filter((d) => !d.this && d.state !== "revoked"));
  if (workspaces.every((w) => w.phase === "paused")) return ["idle", "Everything is paused.", ""];
  const near = others.filter((d) => d.state !== "away");
  const differ = near.filter((d) => ["ahead", "behind", "diverged", "unknown"].includes(d.state));
  if (differ.length || workspaces.some((w) => w.pending)) return ["busy", "Changes are on their way.", ""];
  const away = others.length - near.length;
  if (!others.length) return ["idle", "This device is alone so far.", "Let another one in: autosync invite --once"];
  if (!near.length) return ["idle", "No other device is in reach.", "What you save is kept, and sent when one comes back."];
  const rest = away ? `${count(away, "device is", "devices are")} out of reach, and will catch up.` : "";
  return ["good", "Every device in reach holds the same tree.", rest];
}
