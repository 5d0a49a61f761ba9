// Makes elements, and turns what stands on the page into what is to stand there, touching only what differs.
// Names of files and devices are hostile: they become text nodes and attributes, never markup.

// Characters that are not seen, or that turn the reading direction of what follows them.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;

/** Return `text` with what cannot be seen written out, as the command line does. */
export function plain(text) {
  return String(text).replace(UNSEEN, (character) => {
    const code = character.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`; // a byte that is no UTF-8
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Return an element; `attributes` of null, undefined or false are left out, children may be nested lists. */
export function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Return a name from outside, kept from changing the direction of what stands around it. */
export const name = (text, attributes) => el("bdi", attributes, plain(text));

/** Return a path as code that may be broken at its slashes. */
export function path(text) {
  const parts = plain(text).split(/(?<=\/)/);
  return el("code", { class: "path", dir: "ltr" }, parts.flatMap((part) => [part, el("wbr")]).slice(0, -1));
}

/** Return a sentence of the agent's with the commands in it as code. */
export const sentence = (text) => plain(text).split("`").map((part, n) => (n % 2 ? el("code", {}, part) : part));

/** Return a moment (ISO 8601 or milliseconds) that says how long ago it was; it is kept so by `tick`. */
export function moment(at) {
  if (at === null || at === undefined) return "never";
  const date = new Date(at);
  return el("time", { datetime: date.toISOString(), title: date.toLocaleString() }, ago(date));
}

/** Let every moment below `root` say how long ago it is now. */
export function tick(root) {
  for (const time of root.querySelectorAll("time")) {
    const words = ago(new Date(time.dateTime));
    if (time.textContent !== words) time.firstChild.data = words;
  }
}

function ago(date) {
  const seconds = Math.max(0, (Date.now() - date) / 1000);
  if (seconds < 2) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** Let `target` have these children.  What is there already, by its place or its `data-key`, stays: so does the focus. */
export function show(target, ...children) {
  const wanted = children.flat(Infinity).filter((child) => child);
  const keyed = new Map();
  for (const child of target.children) if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
  let next = target.firstChild;
  const kept = new Set();
  for (const fresh of wanted) {
    const key = fresh.dataset?.key;
    const old = key === undefined ? next : keyed.get(key);
    if (old && !kept.has(old) && alike(old, fresh)) {
      if (old === next) next = next.nextSibling;
      else target.insertBefore(old, next);
      kept.add(old);
      become(old, fresh);
    } else {
      target.insertBefore(fresh, next);
      kept.add(fresh);
    }
  }
  for (const child of [...target.childNodes]) if (!kept.has(child)) child.remove();
}

const alike = (old, fresh) =>
  old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && old.dataset?.key === fresh.dataset?.key;

function become(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name: attribute } of [...old.attributes]) {
    // What the user has opened stays open.
    if (!fresh.hasAttribute(attribute) && attribute !== "open") old.removeAttribute(attribute);
  }
  for (const { name: attribute, value } of fresh.attributes) {
    if (old.getAttribute(attribute) !== value) old.setAttribute(attribute, value);
  }
  show(old, [...fresh.childNodes]);
}
