// Plots of series over time on a canvas, and the read API they come from. No strings become markup.

import {clockOf, plain} from "./text.js";

export const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442", "#999999"];
// Where there are more series than colours, lines are dashed, and dotted.
const DASHES = [[], [6, 3], [2, 3]], DASHED = ["", "dashed", "dotted"];
const UNITS = {reqps: "/s", ops: "/s", s: " s", cores: " cores"};

/** Ask the read API; throws with its own words. */
export async function ask(path, given, signal) {
  const body = new URLSearchParams(given);
  const answer = await fetch(`api/v1/${path}`, {method: "POST", body, signal});
  let document_;
  try { document_ = JSON.parse(plain(await answer.text())); } catch { throw new Error(`HTTP ${answer.status}: no JSON`); }
  if (document_.status !== "success") throw new Error(`${document_.errorType}: ${document_.error}`);
  return document_.data;
}

/** The instants of a span that ends now: whole steps, so that now itself is one. */
export function gridOf(span, points) {
  const step = Math.max(1, Math.ceil(span / points)), end = Math.floor(Date.now() / 1000);
  return {start: end - Math.floor(span / step) * step, end, step};
}

export function nameOf(metric) {
  const {__name__: name = "", ...labels} = metric;
  const inner = Object.entries(labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(", ");
  return inner || !name ? `${name}{${inner}}` : name;
}

export function legendOf(pattern, metric) {
  return (pattern ? pattern.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? "") : nameOf(metric)).trim() || "none";
}

/** A value with its unit, short. */
export function shown(value, unit) {
  if (!Number.isFinite(value)) return String(value);
  if (unit === "percentunit") return `${+(value * 100).toPrecision(3)} %`;
  if (unit === "bytes") {
    let at = 0;
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    while (Math.abs(value) >= 1024 && at < names.length - 1) { value /= 1024; at += 1; }
    return `${+value.toPrecision(3)} ${names[at]}`;
  }
  if (unit === "s" && value !== 0 && Math.abs(value) < 1)
    return Math.abs(value) < 1e-3 ? `${+(value * 1e6).toPrecision(3)} µs` : `${+(value * 1e3).toPrecision(3)} ms`;
  for (const [size, name] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (Math.abs(value) >= size) return `${+(value / (size === 1e4 ? 1e3 : size)).toPrecision(3)}${name}${UNITS[unit] ?? ""}`;
  return `${+value.toPrecision(3)}${UNITS[unit] ?? ""}`;
}

/** The values of an axis: whole steps of 1, 2 or 5, of bytes as they are said, in powers of 1024. */
function ticksOf(low, high, unit) {
  const raw = (high - low) / 4;
  const whole = unit === "bytes" ? 1024 ** Math.max(0, Math.floor(Math.log(raw) / Math.log(1024))) : 1;
  const power = whole * 10 ** Math.floor(Math.log10(raw / whole));
  const by = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10), found = [];
  for (let i = Math.ceil(low / by); i * by <= high + by / 1e6; i += 1) found.push(i * by);
  return found;
}

/** Lines in pieces: where nothing is known for longer than five points of the span's hundredth, there is a gap. */
function piecesOf(values, span) {
  const pieces = [];
  let last = null;
  for (const point of values) {
    if (last === null || point[0] - last > Math.max(90, span / 20)) pieces.push([]);
    pieces[pieces.length - 1].push(point);
    last = point[0];
  }
  return pieces;
}

/**
 * Draw series: [{name, colour, values: [[seconds, number]…]}].
 * Returns what a pointer at x (CSS pixels) is over: the instant, and each series' value there.
 */
export function draw(canvas, series, {start, end, unit = "short", stacked = false, zone}) {
  const ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
  const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  c.scale(ratio, ratio);
  c.font = "11px system-ui, sans-serif";
  c.clearRect(0, 0, box.width, box.height);
  const right = box.width - 8, top = 8, bottom = box.height - 20;
  let drawn = series.map((each) => ({...each, values: each.values.filter(([, v]) => Number.isFinite(v))}));
  if (stacked) {
    const below = new Map();
    drawn = drawn.map((each) => ({...each, values: each.values.map(([t, v]) => {
      const sum = (below.get(t) ?? 0) + v;
      below.set(t, sum);
      return [t, sum];
    })}));
  }
  let low = 0, high = 0;
  for (const {values} of drawn) for (const [, v] of values) { low = Math.min(low, v); high = Math.max(high, v); }
  if (high === low) high = low + 1;
  const ticks = ticksOf(low, high, unit);
  const left = Math.max(40, ...ticks.map((v) => Math.ceil(c.measureText(shown(v, unit)).width) + 8));
  const x = (t) => left + (t - start) / Math.max(1, end - start) * (right - left);
  const y = (v) => bottom - (v - low) / (high - low) * (bottom - top);
  c.strokeStyle = style.getPropertyValue("--line");
  c.fillStyle = style.getPropertyValue("--text");
  c.lineWidth = 0.5;
  for (const v of ticks) {
    c.beginPath(); c.moveTo(left, y(v)); c.lineTo(right, y(v)); c.stroke();
    c.textAlign = "right";
    c.fillText(shown(v, unit), left - 4, y(v) + 4);
  }
  c.textAlign = "center";
  for (let i = 0; i <= 4; i += 1) {
    const t = start + (end - start) * i / 4;
    c.fillText(clockOf(t, zone), Math.min(Math.max(x(t), left + 22), right - 22), box.height - 6);
  }
  c.lineWidth = 1.5;
  for (const {values, colour, round = 0} of [...drawn].reverse()) {
    c.strokeStyle = c.fillStyle = colour;
    c.setLineDash(stacked ? [] : DASHES[round % DASHES.length]);
    for (const piece of piecesOf(values, end - start)) {
      c.beginPath();
      for (const [t, v] of piece) c.lineTo(x(t), y(v));
      c.stroke();
      if (piece.length === 1) c.fillRect(x(piece[0][0]) - 1.5, y(piece[0][1]) - 1.5, 3, 3);
      if (!stacked) continue;
      // The series below it are drawn over it.
      c.lineTo(x(piece[piece.length - 1][0]), y(0));
      c.lineTo(x(piece[0][0]), y(0));
      c.fill();
    }
  }
  c.setLineDash([]);
  return (at) => {
    const t = start + (at - left) / Math.max(1, right - left) * (end - start);
    return {time: t, values: series.map((each) => {
      let best = null;
      for (const point of each.values) if (best === null || Math.abs(point[0] - t) < Math.abs(best[0] - t)) best = point;
      return best && Math.abs(best[0] - t) < Math.max(90, (end - start) / 20) ? [each.name, best[1]] : null;
    }).filter(Boolean)};
  };
}

/** A matrix of the read API as series to draw. */
export function seriesOf(data, pattern, first = 0) {
  return data.result.map(({metric, values}, i) => ({
    name: legendOf(pattern, metric), colour: COLOURS[(first + i) % COLOURS.length], round: Math.floor((first + i) / COLOURS.length),
    values: values.map(([t, v]) => [t, v === "NaN" ? NaN : v === "+Inf" ? Infinity : v === "-Inf" ? -Infinity : +v]),
  }));
}

export function legendList(series, most = 24) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const {name, colour, round} of series.slice(0, most)) {
    const item = document.createElement("li"), box = document.createElement("i");
    box.style.setProperty("background-color", colour);
    box.className = DASHED[round % DASHED.length];
    item.append(box, name);
    list.append(item);
  }
  if (series.length > most) {
    const item = document.createElement("li");
    item.textContent = `and ${series.length - most} more`;
    list.append(item);
  }
  return list;
}

/** Show a page in the theme of the one that led to it, and have its links lead on so; a page of nodes has its link. */
export function settle() {
  const given = new URLSearchParams(location.search).get("theme"), theme = given === "auto" ? null : given;
  const bright = matchMedia("(prefers-color-scheme: light)");
  const set = () => { document.documentElement.dataset.theme = theme ?? (bright.matches ? "light" : "dark"); };
  bright.addEventListener("change", set);
  set();
  for (const link of document.querySelectorAll("header a"))
    if (theme) link.href = link.id === "home" ? `.#theme=${encodeURIComponent(theme)}` : `${link.getAttribute("href")}${location.search}`;
}
