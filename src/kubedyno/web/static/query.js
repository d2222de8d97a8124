// The query page: an expression, its answer as a table or a plot, and the targets with their errors.

import {ask, draw, gridOf, legendList, nameOf, seriesOf, settle} from "./charts.js";
import {clockOf} from "./text.js";

const $ = (id) => document.getElementById(id);
const MOST_ROWS = 1000;
let running = null;
let under = null;
settle();

function cell(text, kind = "td", name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function fail(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? error.message : "";
}

function tableOf(data) {
  const table = document.createElement("table");
  if (data.resultType === "scalar" || data.resultType === "string") table.append(row(cell(data.resultType), cell(data.result[1], "td", "value")));
  else for (const {metric, value, values} of data.result.slice(0, MOST_ROWS))
    table.append(row(cell(nameOf(metric)), cell(value ? value[1] : values.map(([t, v]) => `${v} @${t}`).join("\n"), "td", "value")));
  return table;
}

async function execute() {
  const query = $("expr").value.trim();
  const tab = document.querySelector("input[name=tab]:checked").value;
  $("table").hidden = tab !== "table";
  $("graph").hidden = tab !== "graph";
  $("hint").hidden = !/\b(cilium|hubble)_/.test(query);
  $("hint").textContent = "Cilium's and Hubble's own series are those of a real Cilium; the embedded cluster does not have them.";
  fail(null);
  if (!query) return;
  history.replaceState(null, "", `#${new URLSearchParams({expr: query, tab, range: $("range").value})}`);
  running?.abort();
  const mine = running = new AbortController();
  $("state").textContent = "…";
  const began = performance.now();
  try {
    if (tab === "table") {
      const data = await ask("query", {query}, mine.signal);
      $("table").replaceChildren(tableOf(data));
      const count = Array.isArray(data.result) && data.resultType !== "scalar" && data.resultType !== "string" ? data.result.length : 1;
      $("state").textContent = count ? `${count} series` : "no series";
      if (count > MOST_ROWS) $("state").textContent += `, the first ${MOST_ROWS} shown`;
    } else {
      const {start, end, step} = gridOf(+$("range").value, 250);
      const data = await ask("query_range", {query, start, end, step}, mine.signal);
      const series = seriesOf(data, "");
      under = draw($("plot"), series, {start, end});
      $("legend").replaceChildren(legendList(series));
      $("state").textContent = series.length ? `${series.length} series` : "no series";
    }
    $("state").textContent += `, ${Math.round(performance.now() - began)} ms`;
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error);
    $("state").textContent = "";
    // What was asked before is no answer to this.
    $("table").replaceChildren();
    $("legend").replaceChildren();
    under = draw($("plot"), [], gridOf(+$("range").value, 250));
  }
}

/** Take up what the address says, as when somebody has changed it by hand or went back. */
function restore() {
  const given = new URLSearchParams(location.hash.slice(1));
  $("expr").value = given.get("expr") ?? "up";
  if (given.get("range")) $("range").value = given.get("range");
  document.querySelector(`input[name=tab][value=${given.get("tab") === "graph" ? "graph" : "table"}]`).checked = true;
  execute();
}

async function targets() {
  $("form").hidden = true;
  const data = await ask("targets", {});
  const table = document.createElement("table");
  table.className = "targets";
  table.append(row(...["job", "instance", "path", "state", "last scrape", "took", "error"].map((text) => cell(text, "th"))));
  for (const target of data.activeTargets) {
    const bad = target.health === "up" ? "" : "bad";
    table.append(row(
      cell(target.labels.job ?? ""), cell(target.labels.instance ?? ""), cell(target.labels.metrics_path ?? "/metrics"),
      cell(target.health, "td", bad), cell(clockOf(Date.parse(target.lastScrape) / 1000)), cell(`${(target.lastScrapeDuration * 1000).toFixed(1)} ms`, "td", "value"),
      cell(target.lastError, "td", bad)));
  }
  $("table").replaceChildren(table);
  if (data.activeTargets.some((target) => target.lastError.includes("connection refused"))) {
    $("hint").hidden = false;
    $("hint").textContent = "Connection refused: the component listens on 127.0.0.1 only. `kubedyno explain` shows the patch that binds it to 0.0.0.0.";
  }
}

$("form").onsubmit = (event) => { event.preventDefault(); execute(); };
for (const radio of document.querySelectorAll("input[name=tab]")) radio.onchange = execute;
$("range").onchange = execute;
$("expr").onkeydown = (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); execute(); } };
$("metric").onchange = () => { $("expr").value = $("metric").value; execute(); };
$("plot").onpointermove = (event) => {
  if (!under) return;
  const {time, values} = under(event.offsetX);
  $("under").textContent = `${clockOf(time)}  ${values.slice(0, 8).map(([name, value]) => `${name}: ${value}`).join("   ")}`;
};
if (location.pathname.endsWith("/targets")) {
  targets().catch(fail);
  setInterval(() => targets().catch(fail), 5000);
} else {
  restore();
  addEventListener("hashchange", restore);
  ask("label/__name__/values", {}).then((names) => $("names").replaceChildren(...names.map((name) => new Option(name, name)))).catch(fail);
}
