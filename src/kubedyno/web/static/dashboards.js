// Our dashboards: the panels of promql/dashboards.py, drawn from the read API.

import {ask, draw, gridOf, legendList, seriesOf, settle, shown} from "./charts.js";
import {clockOf} from "./text.js";

const EARLY_MS = 3000;
const $ = (id) => document.getElementById(id);
settle();
const {dashboards, timezone} = await (await fetch("dashboards.json")).json();
let timer = 0;
let round = 0;
let shownUid = "";

function make(panel) {
  const section = document.createElement("section"), title = document.createElement("h2");
  const canvas = document.createElement("canvas"), under = document.createElement("output"), below = document.createElement("div");
  section.className = "panel";
  title.textContent = panel.title;
  canvas.setAttribute("role", "img");
  section.append(title, canvas, under, below);
  const view = {panel, section, canvas, under, below, at: null};
  canvas.onpointermove = (event) => {
    if (!view.at) return;
    const {time, values} = view.at(event.offsetX);
    under.textContent = `${clockOf(time, timezone)}  ${values.slice(0, 6).map(([name, value]) => `${name}: ${shown(value, panel.unit)}`).join("   ")}`;
  };
  canvas.onpointerleave = () => { under.textContent = ""; };
  return view;
}

async function fill(view, start, end, step) {
  const series = [];
  try {
    for (const {expr, legend} of view.panel.queries)
      series.push(...seriesOf(await ask("query_range", {query: expr, start, end, step}), legend, series.length));
  } catch (error) {
    view.below.className = "bad";
    view.below.textContent = error.message;
    view.section.dataset.state = "error";
    return;
  }
  view.at = draw(view.canvas, series, {start, end, unit: view.panel.unit, stacked: view.panel.stacked, zone: timezone});
  view.canvas.setAttribute("aria-label", `${view.panel.title}: ${series.slice(0, 12).map(({name, values}) => `${name} ${shown(values.at(-1)[1], view.panel.unit)}`).join(", ")}`);
  view.below.className = "";
  const drawn = series.some(({values}) => values.some(([, value]) => Number.isFinite(value)));
  if (drawn) view.below.replaceChildren(legendList(series));
  else view.below.textContent = series.length ? "no values in this time" : "no data";
  view.section.dataset.state = drawn ? "drawn" : "empty";
}

/** Whether targets have been looked at twice: rates need that. */
async function looked() {
  try { return (await ask("query", {query: "max(count_over_time(up[1h])) > 1"})).result.length > 0; } catch { return true; }
}

let views = [];

async function refresh() {
  clearTimeout(timer);
  const mine = round += 1;
  const {start, end, step} = gridOf(+$("range").value, 200);
  for (const view of views) {
    if (mine !== round) return;
    await fill(view, start, end, step);
  }
  if (mine !== round) return;
  const every = +$("every").value;
  // Some queries have a value where nothing is recorded.
  const nothing = views.some(({section}) => section.dataset.state === "empty") && !await looked();
  if (mine !== round) return;
  // What is recorded from the first look on comes soon.
  $("early").hidden = !nothing;
  if (every) timer = setTimeout(refresh, nothing ? EARLY_MS : every * 1000);
}

function choose() {
  const chosen = dashboards.find(({uid}) => uid === $("which").value) ?? dashboards[0];
  $("note").textContent = chosen.note;
  views = chosen.panels.map(make);
  $("panels").replaceChildren(...views.map(({section}) => section));
  shownUid = chosen.uid;
  location.hash = chosen.uid;
  refresh();
}

for (const {uid, title} of dashboards) $("which").add(new Option(title, uid));
function restore() {
  const wanted = location.hash.slice(1);
  if (wanted !== shownUid && dashboards.some(({uid}) => uid === wanted)) {
    $("which").value = wanted;
    choose();
  }
}

$("which").onchange = choose;
$("range").onchange = refresh;
$("every").onchange = refresh;
restore();
if (!shownUid) choose();
addEventListener("hashchange", restore);
