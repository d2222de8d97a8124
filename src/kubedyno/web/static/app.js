// The page: stream in, settings and their controls, frames, the ribbon with its scrubber.

import {Drawing} from "./draw.js";
import {SORTS} from "./layout.js";
import {matcher, Model} from "./model.js";
import {COLOURS, legend} from "./palette.js";
import {element, Panel} from "./panel.js";
import {attach} from "./pointer.js";
import {Recording} from "./replay.js";
import {Ribbon, runText, stateCounts, watchedText} from "./ribbon.js";
import {hashOf, partsOf, settingsOf, THEMES, USUAL} from "./settings.js";
import {clockOf, plain} from "./text.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage"), strip = $("ribbon");
const SPOKEN_MS = 10000;
// A browser's timers hold 31 bits.
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const live = new Model(), recording = new Recording(), ribbon = new Ribbon();
const drawing = new Drawing(stage, $("over"), live);
// Of the replay: the moment shown, null when live; and whether it goes on.
let moment = null, playing = false, connected = true;

const page = {
  drawing,
  showWalls() { setWalls(true); remember("walls", "true"); },
  showPods(names) {
    const shown = new Set(names);
    setFilter("");
    drawing.filter((pod) => shown.has(`${pod.namespace}/${pod.name}`));
    showMatches();
  },
  refocus() { stage.focus(); },
};
const panel = new Panel($("panel"), {why: $("why"), list: $("list"), help: $("help")}, page);

// --- settings in the URL's fragment -------------------------------------------------------------------------------

let parts = partsOf(location.hash);

function remember(key, value) {
  if (value) parts.set(key, String(value));
  else parts.delete(key);
  history.replaceState(null, "", hashOf(parts));
  note();
}

/** Say what of the address does not act, and why; a note that was put away stays away until another is to be said. */
let shownNotes = "";
function note() {
  const {notes} = settingsOf(parts, namesOf(live)), text = notes.join("\n");
  if (text === shownNotes) return;
  shownNotes = text;
  $("note").hidden = !text;
  $("notes").replaceChildren(...notes.map((line) => element("span", line)));
}
$("noted").onclick = () => { $("note").hidden = true; };

/** What kube-ops-view and a kubeconfig may call the cluster that is shown; null until that is known. */
function namesOf({server, context}) {
  if (!server) return null;
  const place = server.replace(/^https?:\/\//, "");
  return [context || place, server, place, place.toLowerCase().replace(/[^a-z0-9:-]/g, "-")];
}

for (const [id, values] of [["colour", Object.keys(COLOURS)], ["sort", Object.keys(SORTS)], ["theme", THEMES]])
  for (const value of values) $(id).add(new Option(value, value));

const bright = matchMedia("(prefers-color-scheme: light)");
function setTheme(name) {
  document.documentElement.dataset.theme = name === "auto" ? (bright.matches ? "light" : "dark") : name;
  $("theme").value = name;
  $("dashboards").href = `dashboards?theme=${name}`;
  drawing.theme(getComputedStyle(document.documentElement));
  drawRibbon();
}
bright.onchange = () => setTheme($("theme").value);

function setColour(name) {
  drawing.colour = $("colour").value = name;
  drawing.full = true;
  showLegend();
}

let shownLegend = "";
function showLegend() {
  const items = legend(drawing.colour, drawing.model, drawing.cells), text = JSON.stringify(items);
  if (text === shownLegend) return;
  shownLegend = text;
  $("legend").replaceChildren(...items.map(([name, colour, mark]) => {
    const item = document.createElement("span"), box = document.createElement("i");
    box.style.setProperty("background-color", colour);
    if (mark) box.className = mark;
    item.append(box, name);
    return item;
  }));
}

function setSort(name) {
  drawing.sort = $("sort").value = name;
  drawing.relayout = true;
  drawing.layoutAt = 0;
}

function setFilter(text) {
  drawing.filter(matcher(text));
  if ($("filter").value !== text) $("filter").value = text;
  showMatches();
}

/** Say how many pods match. */
function showMatches() {
  let count = 0;
  if (drawing.match) for (const pod of drawing.model.pods.values()) count += !pod.dim;
  say("matches", drawing.match ? (count === 1 ? "1 matches" : `${count} match`) : "");
}

function setWalls(on) {
  drawing.walls = on;
  drawing.full = true;
  $("walls").ariaPressed = String(on);
}

let reloading = 0;
function obey() {
  parts = partsOf(location.hash);
  const found = settingsOf(parts, namesOf(live));
  drawing.scale = drawing.base = found.scale;
  drawing.relayout = drawing.full = true;
  document.body.classList.toggle("dashboard", found.dashboard);
  setTheme(found.theme);
  setColour(found.colour);
  setSort(found.sort);
  setFilter(found.q);
  setWalls(found.walls);
  clearTimeout(reloading);
  if (found.reload) reloading = setTimeout(() => location.reload(), Math.min(found.reload * 1000, LONGEST_TIMER_MS));
  note();
}
obey();
addEventListener("hashchange", obey);

for (const [id, set] of [["theme", setTheme], ["colour", setColour], ["sort", setSort]])
  $(id).onchange = () => { set($(id).value); remember(id, $(id).value === USUAL[id] ? "" : $(id).value); };
$("filter").oninput = () => { setFilter($("filter").value); remember("q", $("filter").value); };
$("walls").onclick = () => { setWalls(!drawing.walls); remember("walls", drawing.walls ? "true" : ""); };
$("why").onclick = () => panel.toggle("why", () => panel.why());
$("list").onclick = () => panel.toggle("list", () => panel.table());
$("help").onclick = () => panel.toggle("help", () => panel.help());

// --- stream -------------------------------------------------------------------------------------------------------

// How many messages were told before the first; null until that is known.
let before = null, asked = false;
const source = new EventSource("stream");
source.onmessage = (event) => {
  const data = plain(event.data), message = JSON.parse(data);
  connected = true;
  recording.add(data);
  take(live, message, moment === null);
  ribbon.note(message, live);
  if (!asked) {
    asked = true;
    fillIn(message.t).then((found) => { before = found; });
  }
};
source.onerror = () => { connected = false; };

function troubleOf(model) {
  if (connected) return model.trouble;
  // Refused: another kubedyno listens there, or the same one with another secret.
  if (source.readyState === EventSource.CLOSED) return "this address of kubedyno's is no more: open the one that it has printed last";
  return "the connection to kubedyno is gone; trying again; what is shown is as it was";
}

/** Apply a message to a model, and draw what it changes. */
function take(model, message, shown) {
  const now = performance.now();
  model.apply(message, shown && !message.all ? (kind, pod, from) => drawing.news(kind, pod, from, now) : undefined);
  if (!shown) return;
  if (message.all) {
    drawing.show(model);
    note();
  }
  else if (message.x || message.n?.some(([name]) => !drawing.boxes.has(name))) drawing.relayout = true;
  else if (message.n || message.m !== undefined)
    for (const box of message.m === undefined ? message.n.map(([name]) => drawing.boxes.get(name)) : drawing.boxes.values()) drawing.touch(box);
}

/** Put in front what was told before this page was opened, for the ribbon and the replay. */
async function fillIn(first) {
  let texts;
  try {
    const answer = await fetch("history");
    texts = answer.ok ? plain(await answer.text()).split("\n").filter(Boolean) : [];
  } catch { texts = []; }
  const older = new Recording();
  for (const text of texts) older.add(text);
  older.texts = older.texts.filter((_, i) => older.times[i] < first);
  if (!older.texts.length) return 0;
  recording.prepend(older.texts);
  // The ribbon anew, from the first message on.
  ribbon.clear();
  const model = new Model();
  for (const text of recording.texts) {
    const message = JSON.parse(text);
    model.apply(message);
    ribbon.note(message, model);
  }
  return older.texts.length;
}

// --- frames -------------------------------------------------------------------------------------------------------

const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
// Of the width of the counts, in pixels: with each change of it, what stands beside them is laid out and painted anew.
const COUNTS_STEP = 16;
const ruler = document.createElement("canvas").getContext("2d"), written = getComputedStyle($("counts"));
ruler.font = `${written.fontSize} ${written.fontFamily}`;
let shownCounts = "", countsWidth = 0, shownTrouble = "", shownAt = 0;
function showCounts(model) {
  const text = [many(model.nodes.size, "node"), many(model.pods.size, "pod"), stateCounts(model.counts)].filter(Boolean).join(" · ");
  if (text === shownCounts) return;
  $("counts").textContent = shownCounts = text;
  const width = Math.ceil(1.02 * ruler.measureText(text).width / COUNTS_STEP) * COUNTS_STEP;
  // It shrinks only by much: a bar that wraps now and then resizes the map each time.
  if (width <= countsWidth && width > countsWidth / 2) return;
  countsWidth = width;
  $("counts").style.setProperty("width", `${width}px`);
}

function loop(now) {
  if (playing) step(now);
  shownAt = now;
  drawing.frame(now);
  const {model} = drawing;
  showCounts(model);
  $("nothing").hidden = !model.time || model.nodes.size + model.pods.size > 0;
  const trouble = troubleOf(model);
  if (trouble !== shownTrouble) {
    $("trouble").textContent = shownTrouble = trouble;
    $("trouble").hidden = !trouble;
  }
  requestAnimationFrame(loop);
}

function sizeRibbon() {
  const ratio = devicePixelRatio || 1;
  strip.style.setProperty("height", `${ribbon.height}px`);
  strip.width = Math.max(1, Math.round(strip.clientWidth * ratio));
  strip.height = Math.round(ribbon.height * ratio);
}

function size() {
  drawing.resize();
  // Now: a canvas that gets a size is empty, and would be seen so.
  drawing.frame(performance.now());
  sizeRibbon();
  drawRibbon();
}
new ResizeObserver(size).observe(stage);
size();
requestAnimationFrame(loop);

/** Say it, where that is not said already: text that is set is laid out and painted anew. */
function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function everySecond() {
  const {model} = drawing;
  const run = runText(model.run) || watchedText(model.answered, moment === null ? ribbon.recent(model.time) : null);
  say("frame", `frame ${drawing.slowest.toFixed(1)} ms`);
  say("source", model.uses ? "CPU and memory bars: use (metrics.k8s.io), line: requests" : "CPU and memory bars: requests (no metrics.k8s.io)");
  say("run", run);
  $("run").hidden = !run;
  strip.setAttribute("aria-label", `the run over time; now: ${run || "no run"}`);
  drawRibbon();
  showLegend();
  showMatches();
  showTip();
  panel.refresh();
}

function drawRibbon() {
  if (document.body.classList.contains("dashboard")) return;
  if (strip.height !== Math.round(ribbon.height * (devicePixelRatio || 1))) sizeRibbon();
  ribbon.draw(strip, drawing.palette, recording.start, recording.end, moment);
}

setInterval(everySecond, 1000);
setInterval(() => say("spoken", shownCounts), SPOKEN_MS);

// --- replay -------------------------------------------------------------------------------------------------------

/** Show the cluster as it was; `moving`: go on to there, with what comes and goes animated. */
function seek(time, moving = false) {
  moment = Math.min(time, recording.end);
  const now = performance.now();
  const model = recording.at(moment, moving ? (kind, pod, from) => drawing.news(kind, pod, from, now) : undefined);
  if (!moving || recording.jumped || model !== drawing.model || model.nodes.size !== drawing.boxes.size - drawing.boxes.has("")) drawing.show(model);
  const span = recording.end - recording.start;
  $("time").value = span ? Math.round(1000 * (moment - recording.start) / span) : 1000;
  $("moment").textContent = `${clockOf(moment)}, ${(recording.end - moment).toFixed(1)} s ago`;
}

function step(now) {
  const next = moment + (now - shownAt) / 1000 * +$("speed").value;
  if (next >= recording.end) goLive();
  else seek(next, true);
}

function setPlaying(on) {
  playing = on;
  $("play").textContent = on ? "stop" : "play";
}

function play() {
  if (!playing && moment === null) seek(recording.start);
  setPlaying(!playing);
}

function goLive() {
  setPlaying(false);
  moment = null;
  recording.forget();
  $("time").value = 1000;
  $("moment").textContent = "";
  drawing.show(live);
}

let wanted = null;
$("time").oninput = () => {
  const part = $("time").valueAsNumber / 1000;
  if (part >= 1) { goLive(); return; }
  setPlaying(false);
  // At most one seek a frame, however fast the slider moves.
  if (wanted === null) requestAnimationFrame(() => {
    const at = wanted;
    wanted = null;
    seek(recording.start + at * (recording.end - recording.start));
    everySecond();
  });
  wanted = part;
};
$("live").onclick = goLive;
$("play").onclick = play;

const showTip = attach({
  stage, tip: $("tip"), filter: $("filter"), drawing, panel, play,
  zoomed: () => remember("scale", drawing.scale === 1 ? "" : drawing.scale.toFixed(3)),
  reset() {
    panel.close();
    setFilter("");
    remember("q", "");
    drawing.selected = null;
    drawing.full = true;
    if (moment !== null) goLive();
  },
});

// For tests and for the curious.
window.kubedyno = {drawing, recording, ribbon, live, take: (message) => take(live, message, moment === null), get filled() { return before; }};
