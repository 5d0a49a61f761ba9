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

/** Where commands keep the files, nobody has a tree: what is known is who pulled what was pushed. */
const isCommanded = (workspace) => workspace.vcs === "command";

/** Return how a device's tree stands to this one's. */
export function standing(device, workspace) {
  const [tone, words] = STANDINGS[device.state] ?? ["idle", device.state];
  if (device.state === "equal" && isCommanded(workspace)) return ["good", "has what was pushed"];
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
  const paused = workspaces.filter((w) => w.phase === "paused");
  if (paused.length) return ["idle", paused.length === workspaces.length ? "Everything is paused." : `Paused: ${paused.map((w) => plain(w.name)).join(", ")}.`, ""];
  const waiting = workspaces.filter((w) => w.phase === "waiting");
  if (waiting.length) return ["warn", `${count(waiting.length, "working copy waits", "working copies wait")}.`, "For what is said below."];
  if (workspaces.some((w) => w.pending || w.phase !== "watching")) return ["busy", "Changes are on their way.", ""];
  return among(workspaces);
}

/** States of devices of which no confirmation can be expected now. */
const NOT_AT_WORK = ["away", "paused", "halted"];

/** Return the same of the devices, where nothing is to be done here. */
function among(workspaces) {
  const others = workspaces.flatMap((w) => w.devices.filter((d) => !d.this && d.state !== "revoked").map((d) => ({ ...d, commanded: isCommanded(w) })));
  if (!others.length) return ["idle", "This device is alone so far.", "Let another one in: autosync invite --once"];
  const near = others.filter((d) => !NOT_AT_WORK.includes(d.state));
  const named = (state) => [...new Map(others.filter((d) => d.state === state).map((d) => [d.id, plain(d.device ?? d.id)])).values()];
  const [away, paused, halted] = NOT_AT_WORK.map(named);
  const rest = [
    halted.length ? `Halted there: ${halted.join(", ")}.` : "",
    paused.length ? `Paused there: ${paused.join(", ")}.` : "",
    near.length && away.length ? `${count(away.length, "device is", "devices are")} out of reach, and will catch up.` : "",
  ].filter(Boolean).join(" ");
  if (near.some((d) => d.state !== "equal")) return ["busy", "Changes are on their way.", rest];
  const stopped = paused.length + halted.length;
  if (!near.length && !stopped) return ["idle", "No other device is in reach.", "What you save is kept, and sent when one comes back."];
  if (!near.length) return [halted.length ? "warn" : "idle", "No other device is at work.", rest];
  const who = stopped ? "Every other device at work" : "Every device in reach";
  const has = near.every((d) => d.commanded) ? "has what was pushed" : near.some((d) => d.commanded) ? "is up to date" : "holds the same tree";
  return [halted.length ? "warn" : "good", `${who} ${has}.`, rest];
}
