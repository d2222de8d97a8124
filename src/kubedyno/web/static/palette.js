// Colours: of states, of scales, of names; and what each stands for.

import {PENDING, STARTING, STATES, TERMINATING, TROUBLE} from "./model.js";

// Okabe and Ito's palette, told apart by colour-blind readers too; Trouble and Failed differ by a mark on the square.
const STATE_COLOURS = ["#e69f00", "#f0e442", "#009e73", "#56b4e9", "#d55e00", "#cc79a7", "#d55e00"];
export const GOOD = "#009e73", WARN = "#e69f00", BAD = "#d55e00", NONE = "#6b7885";
const ITERATION = "kube-burner.io/job-iteration";
// Ends of the scales: older, slower or more often is drawn as the end.
const AGE_S = 600, STARTUP_S = 10, RESTARTS = 5;
const STEPS = 32;
// One hue from dark to light is read in order by everybody; from blue over grey to orange here.
const SCALE = Array.from({length: STEPS + 1}, (_, i) => blend([0x0b, 0x4f, 0x8a], [0xb9, 0xc4, 0xcc], [0xe8, 0x7a, 0x00], i / STEPS));

function blend(a, b, c, part) {
  const [from, to, p] = part < 0.5 ? [a, b, part * 2] : [b, c, part * 2 - 1];
  return `rgb(${from.map((v, i) => Math.round(v + (to[i] - v) * p)).join(" ")})`;
}

export const heat = (part) => SCALE[Math.round(STEPS * Math.max(0, Math.min(1, part || 0)))];

const hues = new Map();
function hue(text) {
  if (text === undefined || text === "") return NONE;
  let found = hues.get(text);
  if (!found) {
    let h = 0;
    for (const char of String(text)) h = (h * 31 + char.charCodeAt(0)) >>> 0;
    // Lightness differs too: hue alone is not told apart by everybody.
    found = `hsl(${(h * 137) % 360} 60% ${40 + (h >>> 9) % 4 * 10}%)`;
    if (hues.size > 5000) hues.clear();
    hues.set(text, found);
  }
  return found;
}

/** Of a node that is one cell, by the share of its pods that are Ready or have succeeded. */
export const shareColour = (part) => (part >= 1 ? GOOD : part >= 0.5 ? STATE_COLOURS[STARTING] : BAD);

const inks = new Map();
const paper = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
/** Black or white, whichever is read better on a colour. */
export function inkOn(colour) {
  let found = inks.get(colour);
  if (!found) {
    paper.fillStyle = colour;
    paper.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...paper.getImageData(0, 0, 1, 1).data].map((v) => (v / 255) ** 2.2);
    // Where the contrast with both is the same.
    found = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
    if (inks.size > 5000) inks.clear();
    inks.set(colour, found);
  }
  return found;
}

/** Seconds from a pod's first sight to Ready as the watch saw it, else by the API's whole seconds; null before that. */
export function startupOf(pod) {
  if (pod.seen && pod.shown) return pod.shown - pod.seen;
  return pod.ready ? Math.max(0, pod.ready - pod.created) : null;
}

export const COLOURS = {
  phase: (pod) => STATE_COLOURS[pod.state],
  age: (pod, now) => heat((now - pod.created) / AGE_S),
  startup: (pod) => {
    const took = startupOf(pod);
    return took === null ? NONE : heat(took / STARTUP_S);
  },
  iteration: (pod) => hue(pod.labels?.[ITERATION]),
  restarts: (pod) => pod.restarts ? heat(0.5 + pod.restarts / RESTARTS / 2) : NONE,
  namespace: (pod) => hue(pod.namespace),
};

/** Text, colour and mark of what is to be explained; names are the most frequent ones; `cells`: nodes are one cell each. */
export function legend(colour, model, cells) {
  if (cells)
    return [["all pods Ready or succeeded", shareColour(1)], ["half or more", shareColour(0.5)], ["less", shareColour(0)],
      ["not scheduled", STATE_COLOURS[PENDING]]];
  const scale = (ends) => ends.map(([text, part]) => [text, heat(part)]);
  switch (colour) {
    case "age": return scale([["new", 0], ["5 min", 0.5], ["10 min and more", 1]]);
    case "startup": return [...scale([["0 s", 0], ["5 s", 0.5], ["10 s and more", 1]]), ["not Ready", NONE]];
    case "restarts": return [["none", NONE], ...scale([["1", 0.6], [`${RESTARTS} and more`, 1]])];
    case "iteration": return named(model, (pod) => pod.labels?.[ITERATION], "no iteration");
    case "namespace": return named(model, (pod) => pod.namespace, "");
    default: return STATES.map((name, i) => [name, STATE_COLOURS[i], {[TERMINATING]: "cross", [TROUBLE]: "stroke"}[i]]);
  }
}

function named(model, of, none) {
  const counts = new Map();
  for (const pod of model.pods.values()) counts.set(of(pod), (counts.get(of(pod)) || 0) + 1);
  const found = [...counts].sort((a, b) => b[1] - a[1]);
  const shown = found.slice(0, 8).map(([name, count]) => [`${name ?? none} (${count})`, hue(name)]);
  if (found.length > 8) shown.push([`and ${found.length - 8} more`, "transparent"]);
  return shown;
}
