// The page: stream in, controls, pointer and keys, the ribbon with its scrubber, the table for screen readers.

import {Drawing, legend} from "./draw.js";
import {matcher, Model, Recording, STATES} from "./model.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage"), tip = $("tip"), panel = $("panel"), ribbon = $("ribbon");
const COLOURS = ["state", "age", "startup", "iteration", "restarts", "namespace"];
const SORTS = ["name", "pods", "age", "status"];
const THEMES = ["dark", "light", "contrast"];

let live = new Model();
const recording = new Recording();
const drawing = new Drawing(stage, live);
let replay = null;
// Seconds → counts of states, for the ribbon.
const history = [];

// --- settings in the URL's fragment, with kube-ops-view's names ---------------------------------------------------

const fragment = new Map(
  location.hash.slice(1).split(";").filter(Boolean).map((part) => {
    const at = part.indexOf("=");
    return at < 0 ? [part, ""] : [part.slice(0, at), decodeURIComponent(part.slice(at + 1))];
  }));

function remember(key, value) {
  if (value) fragment.set(key, String(value));
  else fragment.delete(key);
  window.history.replaceState(null, "", "#" + [...fragment].map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join(";"));
}

for (const [id, values] of [["colour", COLOURS], ["sort", SORTS], ["theme", THEMES]])
  for (const value of values) $(id).add(new Option(value, value));
drawing.scale = Math.min(32, Math.max(1 / 32, parseFloat(fragment.get("scale")) || 1));
drawing.base = drawing.scale;
if (fragment.get("dashboard") === "true") document.body.classList.add("dashboard");
const reload = parseFloat(fragment.get("reload"));
if (reload > 0) setTimeout(() => location.reload(), reload * 1000);

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").value = name;
  drawing.theme(getComputedStyle(document.documentElement));
}

function setColour(name) {
  drawing.colour = name;
  $("colour").value = name;
  drawing.full = true;
  const items = legend(name).map(([text, colour]) => {
    const item = document.createElement("span"), box = document.createElement("i");
    box.style.setProperty("background", colour);
    item.append(box, text);
    return item;
  });
  $("legend").replaceChildren(...items);
}

function setFilter(text) {
  drawing.match = matcher(text);
  drawing.full = true;
  $("filter").value = text;
  remember("q", text);
}

setTheme(THEMES.includes(fragment.get("theme")) ? fragment.get("theme") : "dark");
setColour(COLOURS.includes(fragment.get("colour")) ? fragment.get("colour") : "state");
setFilter(fragment.get("q") || "");
$("theme").onchange = () => { setTheme($("theme").value); remember("theme", $("theme").value); };
$("colour").onchange = () => { setColour($("colour").value); remember("colour", $("colour").value); };
$("sort").onchange = () => { drawing.sort = $("sort").value; drawing.relayout = true; };
$("filter").oninput = () => setFilter($("filter").value);

// --- stream -------------------------------------------------------------------------------------------------------

const source = new EventSource("stream");
source.onmessage = (event) => {
  const message = JSON.parse(event.data);
  recording.add(message);
  live.apply(message, replay ? undefined : (kind, pod) => drawing.news(kind, pod, performance.now()));
  if (!replay && (message.all || message.n || message.x)) drawing.relayout = true;
  note(message);
};
source.onerror = () => { live.trouble = "the connection to kubedyno is gone; trying again"; };

const last = {second: 0, made: 0, ready: 0};
function note(message) {
  const second = Math.floor(message.t);
  if (second !== last.second) {
    history.push({second, counts: live.counts(), made: last.made, ready: last.ready});
    if (history.length > 3600) history.shift();
    last.second = second;
    last.made = last.ready = 0;
  }
  if (!message.all) last.made += (message.p || []).length;
  for (const v of message.u || []) if (v[2] === 2) last.ready++;
}

// --- frames -------------------------------------------------------------------------------------------------------

let shownCounts = "";
function loop(now) {
  drawing.frame(now);
  const model = drawing.model;
  const counts = model.counts();
  const text = model.trouble
    || `${model.nodes.size} nodes · ${model.pods.size} pods · ` + STATES.map((name, i) => counts[i] ? `${counts[i]} ${name}` : "")
      .filter(Boolean).join(" · ");
  if (text !== shownCounts) $("counts").textContent = shownCounts = text;
  requestAnimationFrame(loop);
}

function size() {
  drawing.resize();
  ribbon.width = ribbon.clientWidth * (devicePixelRatio || 1);
  ribbon.height = ribbon.clientHeight * (devicePixelRatio || 1);
}
new ResizeObserver(size).observe(stage);
size();
requestAnimationFrame(loop);
setInterval(() => {
  $("frame").textContent = `frame ${drawing.slowest.toFixed(1)} ms`;
  drawRibbon();
  if (!replay) $("moment").textContent = "";
  if (!panel.hidden && panel.dataset.kind === "table") showTable();
}, 1000);

// --- ribbon and replay --------------------------------------------------------------------------------------------

function drawRibbon() {
  const c = ribbon.getContext("2d"), {width, height} = ribbon;
  c.fillStyle = drawing.palette.soft;
  c.fillRect(0, 0, width, height);
  if (!history.length) return;
  const from = recording.start, span = Math.max(1, recording.end - from);
  const most = Math.max(1, ...history.map((h) => h.counts.reduce((a, b) => a + b, 0)));
  const fastest = Math.max(1, ...history.map((h) => Math.max(h.made, h.ready)));
  const colours = legend("state").map(([, colour]) => colour);
  for (const h of history) {
    const x = ((h.second - from) / span) * width, w = Math.max(1, width / span);
    let y = height;
    h.counts.forEach((count, i) => {
      const part = (count / most) * (height - 12);
      c.fillStyle = colours[i];
      c.fillRect(x, y - part, w, part);
      y -= part;
    });
    c.fillStyle = drawing.palette.text;
    c.fillRect(x, height - (h.ready / fastest) * (height - 12) - 1, w, 2);
  }
  c.fillStyle = drawing.palette.text;
  c.font = `${10 * (devicePixelRatio || 1)}px system-ui, sans-serif`;
  c.textBaseline = "top";
  c.fillText(`pods by state, at most ${most}; line: pods that became Ready a second, at most ${fastest}`, 6, 1);
}

$("time").oninput = () => {
  const part = $("time").valueAsNumber / 1000;
  if (part >= 1) return goLive();
  const moment = recording.start + part * (recording.end - recording.start);
  replay = recording.at(moment);
  drawing.model = replay;
  drawing.animated.clear();
  drawing.relayout = true;
  $("moment").textContent = `${new Date(moment * 1000).toISOString().slice(11, 19)}, ${(recording.end - moment).toFixed(1)} s ago`;
};
$("live").onclick = goLive;

function goLive() {
  replay = null;
  $("time").value = 1000;
  $("moment").textContent = "";
  drawing.model = live;
  drawing.animated.clear();
  drawing.relayout = true;
}

// --- pointer and keys ---------------------------------------------------------------------------------------------

function move(dx, dy) {
  drawing.x += dx;
  drawing.y += dy;
  drawing.full = true;
}

function zoom(factor, x, y) {
  const scale = Math.min(32, Math.max(1 / 32, drawing.scale * factor));
  drawing.x = x - (x - drawing.x) * (scale / drawing.scale);
  drawing.y = y - (y - drawing.y) * (scale / drawing.scale);
  drawing.scale = scale;
  drawing.full = true;
  remember("scale", scale === 1 ? "" : scale.toFixed(3));
}

stage.onwheel = (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.offsetX, event.offsetY);
};
let drag = null;
stage.onpointerdown = (event) => { drag = [event.clientX, event.clientY]; stage.setPointerCapture(event.pointerId); };
stage.onpointerup = () => { drag = null; };
stage.onpointermove = (event) => {
  if (drag) {
    move(event.clientX - drag[0], event.clientY - drag[1]);
    drag = [event.clientX, event.clientY];
    return;
  }
  const {pod, node} = drawing.hit(event.offsetX, event.offsetY);
  tip.hidden = !pod && !node;
  if (tip.hidden) return;
  tip.textContent = pod ? podText(pod) : nodeText(node);
  tip.style.setProperty("left", `${Math.min(event.offsetX + 14, stage.clientWidth - 340)}px`);
  tip.style.setProperty("top", `${Math.min(event.offsetY + 14, stage.clientHeight - 120)}px`);
};
stage.onpointerleave = () => { tip.hidden = true; };
stage.onclick = (event) => {
  const {pod} = drawing.hit(event.offsetX, event.offsetY);
  if (pod?.why) why();
};

addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT"].includes(document.activeElement?.tagName);
  if (event.key === "Escape") { panel.hidden = true; $("list").ariaExpanded = "false"; setFilter(""); stage.focus(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = 60;
  const keys = {
    ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step),
    ArrowDown: () => move(0, -step), PageUp: () => move(0, stage.clientHeight * 0.9),
    PageDown: () => move(0, -stage.clientHeight * 0.9),
    Home: () => { drawing.x = drawing.y = 0; drawing.full = true; },
    "+": () => zoom(1.25, stage.clientWidth / 2, stage.clientHeight / 2),
    "-": () => zoom(0.8, stage.clientWidth / 2, stage.clientHeight / 2),
  };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  } else if (event.key.length === 1 && /[\w=.\-/]/.test(event.key)) {
    $("filter").focus();
  }
});

function podText(pod) {
  const lines = [`${pod.namespace}/${pod.name}`, `${STATES[pod.state]}${pod.node ? ` on ${pod.node}` : ""}`];
  if (pod.shown && pod.seen && pod.shown > pod.seen) lines.push(`Ready ${((pod.shown - pod.seen) * 1000).toFixed(0)} ms after it was seen`);
  else if (pod.ready) lines.push(`Ready ${Math.max(0, pod.ready - pod.created).toFixed(0)} s after creation (API time, whole seconds)`);
  if (pod.cpu || pod.memory) lines.push(`requests ${pod.cpu}m CPU, ${(pod.memory / 1048576).toFixed(0)} MiB`);
  if (pod.restarts) lines.push(`${pod.restarts} restarts`);
  if (pod.why) lines.push(pod.why + "  (click: why not?)");
  const labels = Object.entries(pod.labels || {}).slice(0, 8).map(([k, v]) => `${k}=${v}`);
  if (labels.length) lines.push(labels.join("\n"));
  return lines.join("\n");
}

function nodeText(node) {
  let cpu = 0, memory = 0, live = 0, addressed = 0;
  for (const pod of drawing.model.byNode.get(node.name) || []) {
    if (pod.state === 3 || pod.state === 4) continue;
    live++;
    cpu += pod.cpu;
    memory += pod.memory;
    addressed += pod.addressed;
  }
  const lines = [
    `${node.name}${node.ready ? "" : " NotReady"}${node.cordoned ? " SchedulingDisabled" : ""}`,
    `CPU requested ${cpu}m of ${node.cpu}m`,
    `memory requested ${(memory / 1048576).toFixed(0)} of ${(node.memory / 1048576).toFixed(0)} MiB`,
    `pods ${live} of ${node.maxPods} (maxPods)`,
    node.addresses ? `addresses ${addressed} of ${node.addresses} (${node.cidr})` : "no PodCIDR",
  ];
  if (node.why) lines.push(node.why);
  return lines.join("\n");
}

// --- panel --------------------------------------------------------------------------------------------------------

$("why").onclick = why;
async function why() {
  panel.hidden = false;
  panel.dataset.kind = "why";
  panel.textContent = "asking the cluster …";
  try {
    const answer = await fetch("why");
    if (!answer.ok) throw new Error(await answer.text());
    const {findings} = await answer.json();
    if (!findings.length) panel.textContent = "all pods run";
    else panel.replaceChildren(...findings.map(findingOf));
  } catch (error) {
    panel.textContent = `cannot say: ${error.message}`;
  }
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function findingOf(finding) {
  const box = element("section", undefined, "wall");
  box.append(element("h3", finding.title));
  for (const [name, lines] of [["seen", finding.evidence], ["do", finding.remedy]]) {
    if (!lines.length) continue;
    box.append(element("strong", name));
    for (const line of lines) box.append(element("code", line));
  }
  if (finding.next_wall) box.append(element("p", `next wall: ${finding.next_wall}`));
  return box;
}

$("list").onclick = () => {
  const open = panel.hidden || panel.dataset.kind !== "table";
  panel.hidden = !open;
  $("list").ariaExpanded = String(open);
  panel.dataset.kind = "table";
  if (open) showTable();
};

function showTable() {
  const table = element("table"), head = element("tr");
  table.append(element("caption", "nodes"));
  for (const name of ["node", "ready", "pods", "max pods", "addresses used", "not running"]) head.append(element("th", name));
  table.append(head);
  const rows = [...drawing.model.nodes.values()].slice(0, 200);
  for (const node of rows) {
    const pods = [...(drawing.model.byNode.get(node.name) || [])], row = element("tr");
    const values = [
      node.name, node.ready ? "yes" : "no", pods.length, node.maxPods,
      node.addresses ? `${pods.filter((p) => p.addressed).length}/${node.addresses}` : "-", pods.filter((p) => p.state !== 2).length,
    ];
    for (const value of values) row.append(element("td", String(value)));
    table.append(row);
  }
  const parts = [table];
  const waiting = [...drawing.model.pods.values()].filter((p) => p.why).slice(0, 100);
  if (waiting.length) {
    const list = element("table");
    list.append(element("caption", "pods that do not run (first 100)"));
    for (const pod of waiting) {
      const row = element("tr");
      row.append(element("td", `${pod.namespace}/${pod.name}`), element("td", pod.why));
      list.append(row);
    }
    parts.push(list);
  }
  panel.replaceChildren(...parts);
}

// For tests and for the curious.
window.kubedyno = {drawing, recording, get live() { return live; }};
