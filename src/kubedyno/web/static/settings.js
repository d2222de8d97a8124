// Settings in the URL's fragment, `key=value;…`, under kube-ops-view's names where it has them: text in; out come the values
// that act, and a line for each part that does not, so that nothing of an address is ignored silently.

import {SORTS} from "./layout.js";
import {COLOURS} from "./palette.js";

export const THEMES = ["auto", "dark", "light", "contrast", "green", "grey", "sepia"];
export const USUAL = {theme: "auto", colour: "phase", sort: "name"};
export const LEAST_SCALE = 1 / 32, MOST_SCALE = 32;
// kube-ops-view's other themes, and ours that is nearest.
const NEAREST = {default: "dark", blackandwhite: "grey", polaroid: "light", highcontrast: "contrast", crt: "green"};
const KNOWN = ["scale", "q", "dashboard", "reload", "theme", "colour", "sort", "walls"];
const SHOWN_LETTERS = 60;

const decoded = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

/** The parts of a fragment, in their order. */
export function partsOf(hash) {
  const parts = new Map();
  for (const part of hash.replace(/^#/, "").split(";").filter(Boolean)) {
    const at = part.indexOf("=");
    parts.set(decoded(at < 0 ? part : part.slice(0, at)), at < 0 ? "" : decoded(part.slice(at + 1)));
  }
  return parts;
}

/** A fragment with these parts. */
export const hashOf = (parts) => "#" + [...parts].map((part) => part.map(encodeURIComponent).join("=")).join(";");

/** What parts ask for, and what is to be said of those that do not act. `cluster`: [names of it], once they are known. */
export function settingsOf(parts, cluster) {
  const notes = [];
  const say = (key, why) => {
    const text = `${key}=${parts.get(key)}`;
    notes.push(`${text.length > SHOWN_LETTERS ? `${text.slice(0, SHOWN_LETTERS)}…` : text}: ${why}`);
  };
  const number = (key, usual, least, most, bad) => {
    const text = parts.get(key), value = Number(text);
    if (!text) return usual;
    if (Number.isFinite(value) && value >= least && value <= most) return value;
    say(key, bad);
    return usual;
  };
  const choice = (key, names) => {
    const text = parts.get(key);
    if (!text || names.includes(text)) return text || USUAL[key];
    say(key, `not known here; one of ${names.join(", ")}`);
    return USUAL[key];
  };
  const flag = (key) => {
    const text = parts.get(key);
    if (text && !["true", "1", "false", "0"].includes(text)) say(key, "neither true nor false");
    return text === "true" || text === "1";
  };
  const theme = () => {
    const near = NEAREST[parts.get("theme")];
    if (!near) return choice("theme", THEMES);
    say("theme", `kube-ops-view's; the nearest here is ${near}`);
    return near;
  };
  const found = {
    scale: number("scale", 1, LEAST_SCALE, MOST_SCALE, "no number between 1/32 and 32"),
    q: parts.get("q") ?? "",
    dashboard: flag("dashboard"),
    reload: number("reload", 0, 0, 1e6, "no number of seconds"),
    theme: theme(),
    colour: choice("colour", Object.keys(COLOURS)),
    sort: choice("sort", Object.keys(SORTS)),
    walls: flag("walls"),
    notes,
  };
  if (parts.get("renderer")) say("renderer", "the page draws on a 2D canvas everywhere: there is no other to choose");
  const others = (parts.get("clusters") ?? "").split(",").filter((id) => id && !(cluster ?? [id]).includes(id));
  if (others.length) say("clusters", `this page shows one cluster, ${cluster[0]}; kubedyno view --kube-context shows another`);
  for (const key of parts.keys())
    if (!KNOWN.includes(key) && key !== "renderer" && key !== "clusters") say(key, `not known here; known are ${KNOWN.join(", ")}`);
  return found;
}
