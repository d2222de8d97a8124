// Drawing: a layout of node boxes with their pods as squares, on one canvas. A frame redraws what changed: the squares
// that are dirty or animated, and everything only when the view, the filter or the layout does.

import {STATES} from "./model.js";

// Okabe and Ito's palette, told apart by colour-blind readers too.
const STATE_COLOURS = ["#e69f00", "#f0e442", "#009e73", "#56b4e9", "#d55e00", "#cc79a7", "#d55e00"];
const SQUARE = 11, GAP = 2, PAD = 6, HEAD = 34, BAR = 4;
const FADE_MS = 450;
// Squares that are animated at once; what is more just appears.
const MAX_ANIMATED = 400;

export class Drawing {
  constructor(canvas, model) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", {alpha: false});
    this.model = model;
    this.scale = 1;
    // Zoom of the page when it was opened: boxes fill its width.
    this.base = 1;
    this.x = 0;
    this.y = 0;
    this.colour = "state";
    this.sort = "name";
    this.match = null;
    this.boxes = new Map();
    this.places = new Map();
    this.animated = new Map();
    this.dirty = new Set();
    this.full = true;
    this.relayout = true;
    this.palette = {};
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.frames = [];
  }

  theme(style) {
    for (const name of ["back", "text", "soft", "line", "accent"])
      this.palette[name] = style.getPropertyValue(`--${name}`).trim();
    this.full = true;
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    const {clientWidth, clientHeight} = this.canvas;
    this.canvas.width = Math.max(1, clientWidth * ratio);
    this.canvas.height = Math.max(1, clientHeight * ratio);
    this.ratio = ratio;
    this.relayout = this.full = true;
  }

  // --- news -----------------------------------------------------------------------------------------------------

  news(kind, pod, now) {
    const place = this.places.get(pod.id);
    if (kind === "changed") {
      this.dirty.add(pod);
      return;
    }
    if (kind === "gone") {
      if (place) {
        const box = this.boxes.get(place.node);
        if (box) box.free.push(place.slot);
        this.places.delete(pod.id);
        if (!this.still && this.animated.size < MAX_ANIMATED)
          this.animated.set(pod.id, {pod, place, start: now, out: true});
        else this.erase(place);
      }
      return;
    }
    if (kind === "moved" && place) {
      const box = this.boxes.get(place.node);
      if (box) box.free.push(place.slot);
      this.places.delete(pod.id);
      this.erase(place);
    }
    this.put(pod);
    if (!this.still && this.animated.size < MAX_ANIMATED) this.animated.set(pod.id, {pod, start: now, out: false});
    this.dirty.add(pod);
  }

  put(pod) {
    const box = this.boxes.get(pod.node);
    if (!box) {
      this.relayout = this.full = true;
      return;
    }
    const slot = box.free.length ? box.free.pop() : box.used++;
    if (slot >= box.columns * box.rows) {
      this.relayout = this.full = true;
      return;
    }
    this.places.set(pod.id, {node: pod.node, slot, box});
    box.bars = true;
  }

  erase(place) {
    (this.holes ||= []).push(place);
  }

  // --- layout ---------------------------------------------------------------------------------------------------

  layout() {
    const {model} = this;
    const order = {
      name: (a, b) => (a.name < b.name ? -1 : 1),
      pods: (a, b) => (model.byNode.get(b.name)?.size || 0) - (model.byNode.get(a.name)?.size || 0),
      age: (a, b) => a.first - b.first,
      status: (a, b) => a.ready - b.ready,
    }[this.sort];
    const nodes = [...model.nodes.values()].sort(
      (a, b) => b.plane - a.plane || order(a, b) || (a.name < b.name ? -1 : 1));
    const loose = model.byNode.get("")?.size || 0;
    this.boxes.clear();
    this.places.clear();
    const width = Math.max(320, this.canvas.clientWidth / Math.min(1, this.base) - 20);
    let most = loose;
    for (const node of nodes) most = Math.max(most, model.byNode.get(node.name)?.size || 0, Math.min(node.maxPods, 24));
    let x = PAD, y = PAD, line = 0;
    const place = (name, count, room) => {
      const cells = Math.max(count + Math.ceil(count / 4) + 4, room);
      const columns = Math.max(8, Math.ceil(Math.sqrt(cells * 1.6)));
      const rows = Math.max(2, Math.ceil(cells / columns));
      const w = Math.max(132, columns * (SQUARE + GAP) + 2 * PAD), h = rows * (SQUARE + GAP) + HEAD + PAD;
      if (x > PAD && x + w > width) {
        x = PAD;
        y += line + PAD;
        line = 0;
      }
      const box = {name, x, y, w, h, columns: Math.floor((w - 2 * PAD) / (SQUARE + GAP)), rows, used: 0, free: [], bars: true};
      this.boxes.set(name, box);
      x += w + PAD;
      line = Math.max(line, h);
      return box;
    };
    for (const node of nodes) {
      const count = model.byNode.get(node.name)?.size || 0;
      place(node.name, count, Math.min(node.maxPods || 16, Math.max(16, most)));
    }
    if (loose) place("", loose, 16);
    for (const [name, pods] of model.byNode) {
      const box = this.boxes.get(name);
      if (!box) continue;
      for (const pod of pods) this.places.set(pod.id, {node: name, slot: box.used++, box});
    }
    this.height = y + line + PAD;
    this.relayout = false;
    this.full = true;
  }

  at(place) {
    const {box, slot} = place;
    return [
      box.x + PAD + (slot % box.columns) * (SQUARE + GAP),
      box.y + HEAD + Math.floor(slot / box.columns) * (SQUARE + GAP),
    ];
  }

  // --- colours --------------------------------------------------------------------------------------------------

  colourOf(pod) {
    if (this.match && !this.match(pod)) return this.palette.soft;
    switch (this.colour) {
      case "age": return heat((this.model.time - pod.created) / 600);
      case "startup": {
        const took = (pod.shown || pod.ready) - (pod.seen && pod.shown && pod.shown >= pod.seen ? pod.seen : pod.created);
        return pod.state === 2 ? heat(took / 10) : STATE_COLOURS[pod.state];
      }
      case "restarts": return pod.restarts ? heat(0.4 + pod.restarts / 10) : "#4a5a68";
      case "iteration": return hue(pod.labels?.["kube-burner.io/job-iteration"]);
      case "namespace": return hue(pod.namespace);
      default: return STATE_COLOURS[pod.state];
    }
  }

  // --- frames ---------------------------------------------------------------------------------------------------

  frame(now) {
    const start = performance.now();
    if (this.relayout) this.layout();
    const c = this.context, s = this.scale * this.ratio;
    c.setTransform(s, 0, 0, s, this.x * this.ratio, this.y * this.ratio);
    const moving = this.animated.size > 0;
    if (this.full) this.drawAll(c);
    else {
      for (const place of this.holes || []) this.clearSquare(c, place);
      for (const pod of this.dirty) this.square(c, pod, 1);
      for (const box of this.boxes.values()) if (box.bars) this.head(c, box);
    }
    this.holes = [];
    this.dirty.clear();
    for (const [id, a] of this.animated) {
      const part = Math.min(1, (now - a.start) / FADE_MS);
      if (a.out) {
        this.clearSquare(c, a.place);
        if (part < 1 && !this.places.has(id)) this.mark(c, a.place, a.pod, 1 - part);
      } else {
        const place = this.places.get(id);
        if (place) {
          this.clearSquare(c, place);
          this.square(c, a.pod, part);
        }
      }
      if (part >= 1) this.animated.delete(id);
    }
    const drew = this.full || moving || start !== performance.now();
    this.full = false;
    if (drew) {
      this.frames.push(performance.now() - start);
      if (this.frames.length > 120) this.frames.shift();
    }
  }

  get slowest() {
    const sorted = [...this.frames].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(sorted.length * 0.95)] : 0;
  }

  drawAll(c) {
    c.save();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = this.palette.back;
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    c.restore();
    const heatOnly = SQUARE * this.scale < 2.2;
    for (const box of this.boxes.values()) {
      if (!this.visible(box)) continue;
      c.fillStyle = this.palette.back;
      c.strokeStyle = this.palette.line;
      c.lineWidth = 1;
      c.strokeRect(box.x + 0.5, box.y + 0.5, box.w, box.h);
      this.head(c, box);
      if (heatOnly) this.cell(c, box);
    }
    if (heatOnly) return;
    // Squares of one colour in one path: a fill each would cost most of the frame.
    const groups = new Map();
    for (const [id, place] of this.places) {
      if (!this.visible(place.box)) continue;
      const pod = this.model.pods.get(id);
      if (!pod) continue;
      const colour = this.colourOf(pod);
      let group = groups.get(colour);
      if (!group) groups.set(colour, (group = []));
      group.push(place);
    }
    for (const [colour, places] of groups) {
      c.fillStyle = colour;
      c.beginPath();
      for (const place of places) {
        const [x, y] = this.at(place);
        c.rect(x, y, SQUARE, SQUARE);
      }
      c.fill();
    }
    for (const [id, place] of this.places) {
      const pod = this.model.pods.get(id);
      if (pod && (pod.state === 5 || pod.restarts)) if (this.visible(place.box)) this.square(c, pod, 1);
    }
  }

  visible(box) {
    const left = box.x * this.scale + this.x, top = box.y * this.scale + this.y;
    return left < this.canvas.clientWidth && top < this.canvas.clientHeight
      && left + box.w * this.scale > 0 && top + box.h * this.scale > 0;
  }

  // Zoomed far out: one heat cell a node, the share of its pods that are Ready.
  cell(c, box) {
    const pods = this.model.byNode.get(box.name);
    if (!pods?.size) return;
    let ready = 0;
    for (const pod of pods) ready += pod.state === 2;
    c.fillStyle = box.name ? mix(ready / pods.size) : STATE_COLOURS[0];
    c.fillRect(box.x + PAD, box.y + HEAD, (box.w - 2 * PAD) * Math.min(1, pods.size / (box.columns * box.rows)), box.h - HEAD - PAD);
  }

  head(c, box) {
    box.bars = false;
    const node = this.model.nodes.get(box.name);
    c.fillStyle = this.palette.back;
    c.fillRect(box.x + 1, box.y + 1, box.w - 1, HEAD - 3);
    c.font = "10px system-ui, sans-serif";
    c.textBaseline = "top";
    c.fillStyle = node && !node.ready ? "#d55e00" : this.palette.text;
    const pods = this.model.byNode.get(box.name) || new Set();
    const title = node ? node.name : "not scheduled";
    const count = node ? `${pods.size}/${node.maxPods}` : `${pods.size}`;
    c.fillText(clip(c, title, box.w - 2 * PAD - c.measureText(count).width - 6), box.x + PAD, box.y + 4);
    c.textAlign = "right";
    c.fillText(count, box.x + box.w - PAD, box.y + 4);
    c.textAlign = "left";
    if (!node) return;
    let cpu = 0, memory = 0, addressed = 0, live = 0;
    for (const pod of pods) {
      if (pod.state === 3 || pod.state === 4) continue;
      live++;
      cpu += pod.cpu;
      memory += pod.memory;
      addressed += pod.addressed;
    }
    const shares = [
      node.cpu ? cpu / node.cpu : 0, node.memory ? memory / node.memory : 0,
      node.maxPods ? live / node.maxPods : 0, node.addresses ? addressed / node.addresses : 0,
    ];
    const w = (box.w - 2 * PAD - 9) / 4;
    shares.forEach((share, i) => {
      const x = box.x + PAD + i * (w + 3), y = box.y + 19;
      c.fillStyle = this.palette.soft;
      c.fillRect(x, y, w, BAR + 2);
      c.fillStyle = share >= 1 ? "#d55e00" : share > 0.8 ? "#e69f00" : "#009e73";
      c.fillRect(x, y, w * Math.min(1, share), BAR + 2);
    });
  }

  clearSquare(c, place) {
    const [x, y] = this.at(place);
    c.fillStyle = this.palette.back;
    c.fillRect(x - 1, y - 1, SQUARE + 2, SQUARE + 2);
  }

  square(c, pod, part) {
    const place = this.places.get(pod.id);
    if (place && this.visible(place.box)) this.mark(c, place, pod, part);
  }

  mark(c, place, pod, part) {
    if (SQUARE * this.scale < 2.2) return;
    const [x, y] = this.at(place);
    const size = SQUARE * part, off = (SQUARE - size) / 2;
    c.fillStyle = this.colourOf(pod);
    c.fillRect(x + off, y + off, size, size);
    if (part < 1) return;
    if (pod.state === 5 || pod.state === 6) {
      // Not by colour alone: a cross goes, a bar is in trouble.
      c.strokeStyle = this.palette.back;
      c.lineWidth = 1.5;
      c.beginPath();
      c.moveTo(x + 2, y + 2);
      c.lineTo(x + SQUARE - 2, y + SQUARE - 2);
      if (pod.state === 5) {
        c.moveTo(x + SQUARE - 2, y + 2);
        c.lineTo(x + 2, y + SQUARE - 2);
      }
      c.stroke();
    }
    if (pod.restarts) {
      c.fillStyle = "#d55e00";
      for (let i = 0; i < Math.min(4, pod.restarts); i++) c.fillRect(x + i * 3, y + SQUARE - 2, 2, 2);
    }
  }

  // --- what is under the pointer --------------------------------------------------------------------------------

  hit(px, py) {
    const x = (px - this.x) / this.scale, y = (py - this.y) / this.scale;
    for (const box of this.boxes.values()) {
      if (x < box.x || x > box.x + box.w || y < box.y || y > box.y + box.h) continue;
      if (y < box.y + HEAD) return {node: this.model.nodes.get(box.name)};
      const column = Math.floor((x - box.x - PAD) / (SQUARE + GAP)), row = Math.floor((y - box.y - HEAD) / (SQUARE + GAP));
      const slot = row * box.columns + column;
      for (const pod of this.model.byNode.get(box.name) || []) {
        if (this.places.get(pod.id)?.slot === slot) return {pod};
      }
      return {node: this.model.nodes.get(box.name)};
    }
    return {};
  }
}

function clip(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  while (text.length > 1 && c.measureText(text + "…").width > width) text = text.slice(0, -1);
  return text + "…";
}

function heat(part) {
  const p = Math.max(0, Math.min(1, part || 0));
  return `hsl(${Math.round(200 - 200 * p)} 75% 50%)`;
}

function mix(part) {
  return `hsl(${Math.round(20 + 140 * part)} 60% 45%)`;
}

function hue(text) {
  if (text === undefined || text === "") return "#4a5a68";
  let h = 0;
  for (const char of String(text)) h = (h * 31 + char.charCodeAt(0)) % 360;
  return `hsl(${h} 60% 55%)`;
}

export function legend(colour) {
  if (colour !== "state") return [];
  return STATES.map((name, i) => [name, STATE_COLOURS[i]]);
}
