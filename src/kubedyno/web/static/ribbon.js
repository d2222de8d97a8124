// The run's ribbon: what happened in each second, in lanes over one time: phases, pods by state, rates, startup latency.

import {READY, STATES} from "./model.js";
import {BAD, COLOURS, NONE} from "./palette.js";
import {clip} from "./text.js";

// Seconds that are kept one by one; a longer time is drawn from pairs of them, and so on.
const MAX_SAMPLES = 3600;
// Latencies are told of what became Ready within so many seconds.
const WINDOW_S = 5;
const PHASES = {create: "#56b4e9", wait: "#6b7885", churn: "#cc79a7", delete: "#d55e00", patch: "#e69f00", read: "#009e73"};
const LANES = [["phase", 15], ["pods", 34], ["rate", 34], ["startup", 34]];
const LEFT = 64;
// Samples that lie closer than so many pixels are drawn as one: lines of thousands of points cost more than a frame has.
const CLOSEST = 2;
// A name of a phase of which less has room is left out.
const LEAST_LETTERS = 5;

export class Ribbon {
  constructor() {
    this.clear();
  }

  clear() {
    this.samples = [];
    this.width = 1;
    this.latencies = [];
    this.current = null;
    this.throttled = 0;
    // Whether a run has told how it goes: without one there are no phases.
    this.told = false;
  }

  get lanes() {
    return this.told ? LANES : LANES.filter(([name]) => name !== "phase");
  }

  /** Of all lanes, in units of the page. */
  get height() {
    return this.lanes.reduce((sum, [, height]) => sum + height + 2, 0);
  }

  /** Take a message, with the cluster as it is after it. */
  note(message, model) {
    const second = Math.floor(message.t / this.width) * this.width;
    let now = this.current;
    if (!now || now.second !== second) {
      if (now) this.close(now);
      now = this.current = {second, counts: null, made: 0, ready: 0, p50: 0, p99: 0, run: null, refused: 0, writes: null};
    }
    this.told ||= !!model.run;
    now.counts = model.counts.slice();
    // Of a second, what was done in it rather than the waiting after it.
    if (!now.run || rank(model.run) >= rank(now.run)) now.run = model.run;
    if (!model.run) now.writes = model.answered?.[0] ?? null;
    if (message.all) return;
    if (message.q?.length && !model.run) now.refused += message.q[1];
    for (const v of message.p ?? []) {
      // What was there before it was watched did not come now, nor did what is told again.
      if (!v[13] || message.t - v[13] > 1) continue;
      now.made += 1;
      if (v[14]) this.ready(now, v[14], v[14] - v[13]);
    }
    for (const v of message.u ?? []) {
      if (v[2] !== READY || !v[7] || message.t - v[7] > 1) continue;
      const pod = model.pods.get(v[0]);
      if (pod?.seen) this.ready(now, v[7], v[7] - pod.seen);
    }
    if (message.r) {
      // A next run counts from 0 again.
      now.refused += Math.max(0, message.r.throttled - (message.r.uuid === this.of ? this.throttled : 0));
      this.throttled = message.r.throttled;
      this.of = message.r.uuid;
    }
  }

  ready(now, at, took) {
    now.ready += 1;
    this.latencies.push([at, took]);
  }

  close(sample) {
    const since = sample.second + this.width - Math.max(WINDOW_S, this.width);
    this.latencies = this.latencies.filter(([at]) => at >= since);
    const run = sample.run;
    if (run?.recent) [sample.p50, sample.p99] = run.recent;
    else if (this.latencies.length) {
      const sorted = this.latencies.map(([, took]) => took).sort((a, b) => a - b);
      sample.p50 = quantile(sorted, 0.5);
      sample.p99 = quantile(sorted, 0.99);
    }
    this.samples.push(sample);
    if (this.samples.length < MAX_SAMPLES) return;
    this.width *= 2;
    const pairs = new Map();
    for (const one of this.samples) {
      const second = Math.floor(one.second / this.width) * this.width, first = pairs.get(second);
      if (first) join(first, one, (a, b) => a + b);
      else pairs.set(second, {...one, second});
    }
    this.samples = [...pairs.values()];
  }

  /** P50 and P99 of what became Ready lately, as the watch saw it; null when nothing did. */
  recent(now) {
    const sorted = this.latencies.filter(([at]) => at >= now - WINDOW_S).map(([, took]) => took).sort((a, b) => a - b);
    return sorted.length ? [quantile(sorted, 0.5), quantile(sorted, 0.99), sorted.length] : null;
  }

  /** All samples, those as one that would be drawn in one of so many columns: of rates and latencies the highest. */
  columns(start, span, count) {
    const all = this.current ? [...this.samples, this.current] : this.samples;
    if (all.length <= count) return all;
    const found = [];
    let last = NaN;
    for (const one of all) {
      const column = Math.floor((one.second - start) / span * count);
      if (column === last) join(found[found.length - 1], one, Math.max);
      else found.push({...one});
      last = column;
    }
    return found;
  }

  draw(canvas, palette, start, end, moment) {
    const c = canvas.getContext("2d"), ratio = devicePixelRatio || 1;
    const {lanes, height: whole} = this, width = canvas.width / ratio, span = Math.max(1, end - start);
    const all = this.columns(start, span, Math.max(1, Math.floor((width - LEFT) / CLOSEST)));
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = palette.back;
    c.fillRect(0, 0, width, whole);
    // On whole pixels of the screen: what lies side by side would have a seam.
    const x = (second) => Math.round((LEFT + Math.max(0, Math.min(1, (second - start) / span)) * (width - LEFT)) * ratio) / ratio;
    const wide = (sample) => Math.max(1, x(sample.second + this.width) - x(sample.second));
    const most = Math.max(1, ...all.map((one) => one.counts.reduce((a, b) => a + b, 0)));
    const fastest = Math.max(1, ...all.map((one) => Math.max(one.made / this.width, one.ready / this.width, one.run?.reached ?? 0, one.writes ?? 0, shownRate(one.run))));
    const slowest = Math.max(0.1, ...all.map((one) => one.p99));
    let top = 0;
    c.textBaseline = "top";
    for (const [name, height] of lanes) {
      c.fillStyle = palette.soft;
      c.fillRect(LEFT, top, width - LEFT, height);
      const y = (part) => top + height - Math.min(1, part) * (height - 3);
      if (name === "phase") this.phases(c, all, x, wide, top, height, palette);
      else if (name === "pods")
        all.forEach((one, i) => {
          // What nothing was told of stayed as it was.
          const until = all[i + 1] ? x(all[i + 1].second) : width;
          let below = 0;
          one.counts.forEach((count, state) => {
            if (!count) return;
            c.fillStyle = COLOURS.phase({state});
            c.fillRect(x(one.second), y((below + count) / most), Math.max(1, until - x(one.second)), y(below / most) - y((below + count) / most));
            below += count;
          });
        });
      else if (name === "rate") {
        line(c, all, x, (one) => y(one.ready / this.width / fastest), COLOURS.phase({state: READY}), () => true);
        line(c, all, x, (one) => y(shownRate(one.run) / fastest), NONE, (one) => active(one.run), [4, 3]);
        line(c, all, x, (one) => y((one.run?.reached ?? 0) / fastest), palette.accent, (one) => active(one.run));
        line(c, all, x, (one) => y(one.writes / fastest), palette.accent, (one) => one.writes !== null);
        c.fillStyle = BAD;
        for (const one of all) if (one.refused) c.fillRect(x(one.second), top + height - 4, Math.max(3, wide(one)), 4);
      } else {
        line(c, all, x, (one) => y(one.p99 / slowest), BAD, (one) => one.p99 > 0);
        line(c, all, x, (one) => y(one.p50 / slowest), palette.text, (one) => one.p99 > 0);
      }
      c.fillStyle = palette.text;
      c.font = "10px system-ui, sans-serif";
      c.fillText(name, 4, top + 2);
      const scale = {pods: `${most}`, rate: `${round(fastest)}/s`, startup: seconds(slowest)}[name];
      if (scale) c.fillText(scale, 4, top + 15);
      top += height + 2;
    }
    if (moment !== null) {
      c.fillStyle = palette.text;
      c.fillRect(x(moment) - 0.5, 0, 1.5, whole);
    }
  }

  phases(c, all, x, wide, top, height, palette) {
    // One block each: edges between its seconds would be seen.
    const blocks = [];
    for (const one of all) {
      if (!active(one.run)) continue;
      const {job, phase} = one.run, name = `${phase} ${job}`, from = x(one.second), to = from + wide(one), last = blocks[blocks.length - 1];
      if (last?.name === name && from <= last.to + 1) last.to = to;
      else blocks.push({name, colour: PHASES[phase] ?? NONE, from, to});
    }
    c.font = "10px system-ui, sans-serif";
    for (const {name, colour, from, to} of blocks) {
      c.fillStyle = colour;
      c.fillRect(from, top, to - from, height);
      c.fillStyle = palette.back;
      c.fillRect(from, top, 1, height);
      const text = clip(c, name.slice(0, 60), to - from - 6);
      c.fillStyle = "#000";
      if (text.length >= LEAST_LETTERS || text === name) c.fillText(text, from + 3, top + 3);
    }
  }
}

/** Make one sample of two, the later one second. */
function join(first, one, more) {
  Object.assign(first, {
    counts: one.counts, run: rank(one.run) >= rank(first.run) ? one.run : first.run, writes: one.writes ?? first.writes,
    made: more(first.made, one.made), ready: more(first.ready, one.ready), refused: first.refused + one.refused,
    p50: Math.max(first.p50, one.p50), p99: Math.max(first.p99, one.p99),
  });
}

const rank = (run) => (!run || run.ended ? 0 : {prepare: 0, "clean up": 0, wait: 1}[run.phase] ?? 2);
const active = (run) => !!run && !run.ended;
const shownRate = (run) => (active(run) && run.phase !== "wait" ? run.qps : 0);
const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)];
const round = (value) => (value >= 100 ? Math.round(value) : +value.toPrecision(2));
export const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`);

function line(c, all, x, y, colour, has, dash = []) {
  c.strokeStyle = colour;
  c.lineWidth = 1.5;
  c.setLineDash(dash);
  c.beginPath();
  let on = false;
  for (const one of all) {
    if (!has(one)) { on = false; continue; }
    if (on) c.lineTo(x(one.second + 0.5), y(one));
    else c.moveTo(x(one.second), y(one));
    on = true;
  }
  c.stroke();
  c.setLineDash([]);
}

/** What is known beside a run that does not tell how it goes, in words. */
export function watchedText(answered, startup) {
  const parts = ["no run of this page's own: the rate asked for is not known"];
  if (!answered) parts.push("429s: asking the API server");
  else if (answered.length) parts.push(`API server, all clients: ${round(answered[0])} writes/s, 429s ${answered[1]} in ${answered[2]} s`);
  else parts.push("429s not known: the API server's /metrics do not say them");
  if (startup) parts.push(`startup of the last ${startup[2]} pods, as watched: P50 ${seconds(startup[0])}, P99 ${seconds(startup[1])}`);
  return parts.join(" · ");
}

/** How a run goes, in words. */
export function runText(run) {
  if (!run) return "";
  if (!run.job) return [run.phase, run.waiting].filter(Boolean).join(": ");
  const parts = [`${run.job} ${run.ended ? "ended" : run.phase}`, `${run.done}/${run.asked}`];
  if (run.qps) parts.push(`asked ${round(run.qps)}/s, reached ${round(run.ended ? run.average : run.reached)}/s`);
  parts.push(`pods ${run.ready}/${run.pods} Ready`);
  if (run.startup) parts.push(`startup P50 ${seconds(run.startup[0])}, P99 ${seconds(run.startup[1])} (${run.startup[2]} pods)`);
  parts.push(`429s ${run.throttled}`);
  if (run.failed) parts.push(`${run.failed} failed`);
  if (run.waiting) parts.push(run.waiting);
  if (run.ended) parts.push(`exit code ${run.code}`);
  return parts.join(" · ");
}

export const stateCounts = (counts) => STATES.map((name, i) => (counts[i] ? `${counts[i]} ${name}` : "")).filter(Boolean).join(" · ");
