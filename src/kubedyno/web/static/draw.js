// Drawing: node boxes with their pods as squares on one canvas, and what passes over them on a second. A frame draws what
// changed: the squares that are dirty or animated, the heads of their nodes; everything only when the view, the filter
// or the layout does.

import {CELL, HEAD, Layout, PAD, SQUARE} from "./layout.js";
import {PENDING, TERMINATING, TROUBLE} from "./model.js";
import {BAD, COLOURS, GOOD, heat, WARN} from "./palette.js";

const FADE_MS = 450, PUFF_MS = 1200;
// Squares that are animated at once, and of one node between two frames; more are told by a number.
const MAX_ANIMATED = 400, MAX_OF_A_NODE = 12, MAX_PUFFS = 60;
// Smaller than this on the screen, squares are one cell a node, and letters are left out.
const LEAST_SQUARE = 2.2, LEAST_LETTER = 5;
// Places are made anew at most so often, and never for more than a tenth of the time.
const LAYOUT_MS = 250, LAYOUT_SHARE = 10;
// Colours of age change by themselves.
const AGE_MS = 5000;
const BARS = ["cpu", "mem", "pods", "ip"];

export class Drawing {
  constructor(canvas, over, model) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", {alpha: false});
    this.over = over;
    this.overContext = over.getContext("2d");
    this.model = model;
    this.layout = new Layout();
    this.scale = 1;
    // Zoom of the page when it was opened: boxes fill its width.
    this.base = 1;
    this.x = 0;
    this.y = 0;
    this.colour = "phase";
    this.sort = "name";
    this.match = null;
    this.walls = false;
    this.selected = null;
    this.animated = new Map();
    this.puffs = [];
    this.crowds = new Map();
    this.dirty = new Set();
    this.heads = new Set();
    this.holes = [];
    this.full = true;
    this.relayout = true;
    this.layoutAt = 0;
    this.drawnAt = 0;
    this.overDirty = false;
    this.palette = {};
    const motion = matchMedia("(prefers-reduced-motion: reduce)");
    this.still = motion.matches;
    motion.onchange = () => { this.still = motion.matches; };
    this.frames = [];
  }

  get places() {
    return this.layout.places;
  }

  get boxes() {
    return this.layout.boxes;
  }

  at(place) {
    return this.layout.at(place);
  }

  show(model) {
    this.model = model;
    this.animated.clear();
    this.puffs.length = 0;
    this.crowds.clear();
    this.dirty.clear();
    this.refilter();
    this.relayout = true;
    this.layoutAt = 0;
  }

  theme(style) {
    for (const name of ["back", "text", "soft", "line", "accent"])
      this.palette[name] = style.getPropertyValue(`--${name}`).trim();
    this.full = true;
  }

  resize() {
    const ratio = devicePixelRatio || 1, {clientWidth, clientHeight} = this.canvas;
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.max(1, Math.round(clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    }
    this.width = clientWidth;
    this.tall = clientHeight;
    this.ratio = ratio;
    this.relayout = this.full = this.overDirty = true;
    this.layoutAt = 0;
  }

  filter(match) {
    this.match = match;
    this.refilter();
    this.full = true;
  }

  refilter() {
    for (const pod of this.model.pods.values()) pod.dim = this.match !== null && !this.match(pod);
  }

  // --- news -----------------------------------------------------------------------------------------------------

  // What is out of sight, or looks as it was drawn, is no reason for a frame: most changes of most pods.

  news(kind, pod, before, now) {
    if (kind !== "gone") pod.dim = this.match !== null && !this.match(pod);
    const box = this.boxes.get(pod.node);
    if (kind === "changed") {
      if (!box || !this.visible(box)) return;
      if (this.headMoved(box)) this.touch(box);
      if ((pod.colour !== this.colourOf(pod) || pod.marks !== marksOf(pod)) && this.inSight(this.places.get(pod.id))) this.dirty.add(pod);
      return;
    }
    if (box) this.touch(box);
    const place = this.layout.take(pod);
    if (place) {
      this.touch(place.box);
      if (kind === "gone") this.animate(pod, place, now, true);
      else if (this.inSight(place)) this.holes.push(place);
    }
    if (kind === "gone") return;
    if (!this.layout.put(pod)) {
      this.relayout = true;
      return;
    }
    const slot = this.places.get(pod.id);
    this.animate(pod, slot, now, false);
    if (this.inSight(slot)) this.dirty.add(pod);
  }

  /** Draw a node's head anew, or its cell, where that is in sight. */
  touch(box) {
    if (this.cells ? this.visible(box) : this.sees(box.x, box.y, box.w, HEAD)) this.heads.add(box);
  }

  /** Whether what a node's pods add up to is not what its head, or its cell, was drawn with. */
  headMoved(box) {
    const group = this.model.group(box.name), {drawn} = box;
    return !drawn || this.walls || drawn.live !== group.live || drawn.cpu !== group.cpu || drawn.memory !== group.memory ||
      drawn.addressed !== group.addressed || (this.cells && drawn.ready !== group.ready);
  }

  animate(pod, place, now, out) {
    if (!this.visible(place.box)) return;
    const seen = this.inSight(place);
    if (this.still) {
      if (out && seen) this.holes.push(place);
      return;
    }
    let crowd = this.crowds.get(place.box.name);
    if (!crowd) this.crowds.set(place.box.name, (crowd = {came: 0, went: 0}));
    if (out) crowd.went += 1;
    else crowd.came += 1;
    if (!seen) return;
    if (crowd.came + crowd.went <= MAX_OF_A_NODE && this.animated.size < MAX_ANIMATED)
      this.animated.set(out ? -1 - pod.id : pod.id, {pod, place, start: now, out});
    else if (out) this.holes.push(place);
  }

  // --- frames ---------------------------------------------------------------------------------------------------

  frame(now) {
    const start = performance.now();
    if (this.relayout && now >= this.layoutAt) {
      this.layout.make(this.model, this.sort, Math.max(320, this.width / this.base - 20));
      this.relayout = false;
      this.full = true;
      this.layoutAt = now + Math.max(LAYOUT_MS, LAYOUT_SHARE * (performance.now() - start));
      for (const [id, a] of this.animated) if (a.out || !this.places.has(id)) this.animated.delete(id);
    }
    if (this.colour === "age" && now - this.drawnAt > AGE_MS) this.full = true;
    const busy = this.full || this.dirty.size || this.heads.size || this.holes.length || this.animated.size;
    if (busy) this.draw(now);
    this.pass(now);
    if (busy) {
      this.frames.push(performance.now() - start);
      if (this.frames.length > 120) this.frames.shift();
    }
  }

  draw(now) {
    const c = this.context, s = this.scale * this.ratio;
    c.setTransform(s, 0, 0, s, this.x * this.ratio, this.y * this.ratio);
    this.wanted = this.walls ? this.model.wanted() : null;
    if (this.full) this.drawAll(c, now);
    else {
      for (const place of this.holes) this.clearSquare(c, place);
      for (const pod of this.dirty) this.square(c, pod, 1);
      for (const box of this.heads) {
        if (!this.visible(box)) continue;
        this.head(c, box);
        if (this.cells) this.cell(c, box);
      }
    }
    this.holes.length = 0;
    this.dirty.clear();
    this.heads.clear();
    for (const [id, a] of this.animated) {
      const part = Math.min(1, (now - a.start) / FADE_MS);
      if (a.out) {
        // Its slot may have been given away.
        if (!a.place.box.pods.has(a.place.slot)) {
          this.clearSquare(c, a.place);
          if (part < 1) this.mark(c, a.place, a.pod, 1 - part);
        }
      } else if (this.places.get(id) === a.place) {
        this.clearSquare(c, a.place);
        this.mark(c, a.place, a.pod, part);
      }
      if (part >= 1) this.animated.delete(id);
    }
    this.full = false;
  }

  get slowest() {
    const sorted = [...this.frames].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.floor(sorted.length * 0.95)] : 0;
  }

  /** What passes over the squares: numbers of many that came or went at once, and the frame of what is selected. */
  pass(now) {
    for (const [name, {came, went}] of this.crowds) {
      if (came + went > MAX_OF_A_NODE && this.puffs.length < MAX_PUFFS)
        this.puffs.push({name, text: [came && `+${came}`, went && `−${went}`].filter(Boolean).join(" "), start: now});
    }
    this.crowds.clear();
    if (!this.puffs.length && !this.overDirty) return;
    this.overDirty = false;
    this.puffs = this.puffs.filter((puff) => now - puff.start < PUFF_MS);
    // A layer costs the browser part of each frame, also when there is nothing on it.
    const used = this.puffs.length > 0 || this.boxes.has(this.selected);
    if (this.over.hidden === used) this.over.hidden = !used;
    if (!used) return;
    const c = this.overContext, s = this.scale * this.ratio;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.over.width, this.over.height);
    c.setTransform(s, 0, 0, s, this.x * this.ratio, this.y * this.ratio);
    if (this.boxes.has(this.selected)) {
      const box = this.boxes.get(this.selected);
      c.strokeStyle = this.palette.accent;
      c.lineWidth = 3 / Math.min(1, this.scale);
      c.strokeRect(box.x, box.y, box.w, box.h);
    }
    c.textAlign = "center";
    c.font = `bold ${Math.max(18, 14 / this.scale)}px system-ui, sans-serif`;
    for (const {name, text, start} of this.puffs) {
      const box = this.boxes.get(name);
      if (!box || !this.visible(box)) continue;
      const part = Math.max(0, (now - start) / PUFF_MS);
      c.globalAlpha = 1 - part;
      c.lineWidth = 4;
      c.strokeStyle = this.palette.back;
      c.fillStyle = this.palette.text;
      const x = box.x + box.w / 2, y = box.y + HEAD + (box.h - HEAD) / 2 - 14 * part;
      c.strokeText(text, x, y);
      c.fillText(text, x, y);
    }
    c.globalAlpha = 1;
  }

  drawAll(c, now) {
    this.drawnAt = now;
    this.overDirty = true;
    c.save();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = this.palette.back;
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    c.restore();
    const {cells} = this;
    const shown = [...this.boxes.values()].filter((box) => this.visible(box));
    for (const box of this.boxes.values()) box.drawn = null;
    for (const box of shown) {
      this.head(c, box);
      this.border(c, box);
      if (cells) this.cell(c, box);
    }
    if (cells) return;
    // Squares of one colour in one path: a fill each would cost most of the frame.
    const groups = new Map(), marked = [];
    for (const box of shown) {
      for (const [slot, pod] of box.pods) {
        const colour = pod.colour = this.colourOf(pod);
        pod.marks = marksOf(pod);
        let group = groups.get(colour);
        if (!group) groups.set(colour, (group = []));
        group.push(box.x + PAD + (slot % box.columns) * CELL, box.y + HEAD + Math.floor(slot / box.columns) * CELL);
        if (pod.marks) marked.push(pod);
      }
    }
    for (const [colour, at] of groups) {
      c.fillStyle = colour;
      c.beginPath();
      for (let i = 0; i < at.length; i += 2) c.rect(at[i], at[i + 1], SQUARE, SQUARE);
      c.fill();
    }
    for (const pod of marked) this.square(c, pod, 1);
  }

  colourOf(pod) {
    return pod.dim ? this.palette.soft : COLOURS[this.colour](pod, this.model.time);
  }

  /** Zoomed so far out that nodes are cells, without squares. */
  get cells() {
    return SQUARE * this.scale < LEAST_SQUARE;
  }

  sees(x, y, w, h) {
    const left = x * this.scale + this.x, top = y * this.scale + this.y;
    return left < this.width && top < this.tall && left + w * this.scale > 0 && top + h * this.scale > 0;
  }

  visible(box) {
    return this.sees(box.x, box.y, box.w, box.h);
  }

  /** Whether a pod's square is drawn, and in sight. */
  inSight(place) {
    if (!place || this.cells) return false;
    const [x, y] = this.at(place);
    return this.sees(x, y, SQUARE, SQUARE);
  }

  border(c, box) {
    const stopped = this.walls && box.walls?.length;
    c.strokeStyle = stopped ? BAD : this.palette.line;
    c.lineWidth = stopped ? 2.5 : 1;
    c.strokeRect(box.x + 0.5, box.y + 0.5, box.w, box.h);
  }

  // Zoomed far out: one cell a node, the share of its pods that are Ready.
  cell(c, box) {
    const group = this.model.group(box.name), size = group.pods.size;
    const w = box.w - 2 * PAD, h = box.h - HEAD - PAD;
    c.fillStyle = this.palette.soft;
    c.fillRect(box.x + PAD, box.y + HEAD, w, h);
    if (!size) return;
    c.fillStyle = box.name ? (group.ready === size ? GOOD : heat(0.5 + (1 - group.ready / size) / 2)) : COLOURS.phase({state: PENDING});
    c.fillRect(box.x + PAD, box.y + HEAD, w, h * Math.min(1, size / (box.columns * box.rows)));
  }

  /** Draw what has changed of a node's head since it was drawn: letters cost most of a frame. */
  head(c, box) {
    const node = this.model.nodes.get(box.name), {palette} = this, before = box.drawn;
    const group = this.model.group(box.name), letters = 10 * this.scale >= LEAST_LETTER;
    const {live, cpu, memory, addressed, ready} = group;
    const now = box.drawn = {title: "", below: "", bars: "", live, cpu, memory, addressed, ready};
    box.walls = node && this.walls ? this.model.walls(node, this.wanted) : null;
    c.textBaseline = "top";
    c.textAlign = "left";
    const clear = (y, h) => {
      c.fillStyle = palette.back;
      c.fillRect(box.x + 2, box.y + y, box.w - 3, h);
    };
    const name = node ? node.name + (node.ready ? "" : " NotReady") : box.name || "not scheduled";
    const text = node ? `${group.live}/${node.maxPods}` : `${group.pods.size}`;
    now.title = letters ? `${name} ${text}` : "";
    if (before?.title !== now.title) {
      clear(2, 17);
      if (letters) this.title(c, box, name, text, node && !node.ready);
    }
    if (!node) return;
    const {shown, asked, used} = this.model.shares(node), w = (box.w - 2 * PAD - 9) / 4;
    const walls = letters && box.walls?.length ? `✕ ${[...new Set(box.walls.map(([short]) => short))].join(" ")}` : "";
    now.below = walls || (letters ? "names" : "");
    const place = (i) => box.x + PAD + i * (w + 3);
    if (before?.below !== now.below) {
      clear(19, 9);
      c.font = "8px system-ui, sans-serif";
      c.fillStyle = walls ? BAD : palette.text;
      if (walls) c.fillText(clip(c, walls, box.w - 2 * PAD), box.x + PAD, box.y + 19);
      else if (letters) BARS.forEach((bar, i) => c.fillText(bar, place(i), box.y + 19));
    }
    // To the tenth of a unit: finer is not seen.
    const long = (share) => Math.round(10 * w * Math.min(1, share)) / 10;
    now.bars = [...shown.map((share) => `${long(share)}${barColour(share)}`), ...(used ? asked.map(long) : [])].join();
    if (before?.bars !== now.bars) {
      clear(28, 12);
      shown.forEach((share, i) => {
        const x = place(i), y = box.y + 29;
        c.fillStyle = palette.soft;
        c.fillRect(x, y, w, 7);
        c.fillStyle = barColour(share);
        c.fillRect(x, y, long(share), 7);
        if (used && i < 2) {
          // A line where requests are: use and requests are two walls.
          c.fillStyle = palette.text;
          c.fillRect(x + long(asked[i]) - 0.5, y - 1, 1.5, 9);
        }
      });
    }
    if (this.walls && !this.full) this.border(c, box);
  }

  title(c, box, name, text, bad) {
    c.font = "10px system-ui, sans-serif";
    c.fillStyle = bad ? BAD : this.palette.text;
    const whole = `${name} ${text.length}`;
    if (box.title?.of !== whole) box.title = {of: whole, text: clip(c, name, box.w - 2 * PAD - c.measureText(text).width - 6)};
    c.fillText(box.title.text, box.x + PAD, box.y + 5);
    c.textAlign = "right";
    c.fillText(text, box.x + box.w - PAD, box.y + 5);
    c.textAlign = "left";
  }

  clearSquare(c, place) {
    if (this.cells) return;
    const [x, y] = this.at(place);
    c.fillStyle = this.palette.back;
    c.fillRect(x - 0.5, y - 0.5, SQUARE + 1, SQUARE + 1);
  }

  square(c, pod, part) {
    const place = this.places.get(pod.id);
    if (place && this.visible(place.box)) this.mark(c, place, pod, part);
  }

  mark(c, place, pod, part) {
    if (this.cells || !this.visible(place.box)) return;
    const [x, y] = this.at(place), size = SQUARE * part, off = (SQUARE - size) / 2;
    c.fillStyle = pod.colour = this.colourOf(pod);
    c.fillRect(x + off, y + off, size, size);
    if (part < 1) return;
    pod.marks = marksOf(pod);
    if (pod.state === TERMINATING || pod.state === TROUBLE) {
      // Not by colour alone: a cross goes, a bar is in trouble.
      c.strokeStyle = this.palette.back;
      c.lineWidth = 1.5;
      c.beginPath();
      c.moveTo(x + 2, y + 2);
      c.lineTo(x + SQUARE - 2, y + SQUARE - 2);
      if (pod.state === TERMINATING) {
        c.moveTo(x + SQUARE - 2, y + 2);
        c.lineTo(x + 2, y + SQUARE - 2);
      }
      c.stroke();
    }
    if (pod.restarts) {
      c.fillStyle = BAD;
      for (let i = 0; i < Math.min(4, pod.restarts); i += 1) c.fillRect(x + i * 3, y + SQUARE - 2, 2, 2);
    }
  }

  // --- the view -------------------------------------------------------------------------------------------------

  hit(px, py) {
    const {box, pod} = this.layout.hit((px - this.x) / this.scale, (py - this.y) / this.scale);
    return box ? {pod, node: this.model.nodes.get(box.name)} : {};
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.full = true;
  }

  home() {
    this.x = this.y = 0;
    this.full = true;
  }

  zoom(factor, x, y) {
    const scale = Math.min(32, Math.max(1 / 32, this.scale * factor));
    this.x = x - (x - this.x) * (scale / this.scale);
    this.y = y - (y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.full = true;
  }

  /** Bring a node into view and frame it. */
  find(name) {
    this.selected = name;
    const box = this.boxes.get(name);
    if (!box) return;
    this.x = this.width / 3 - (box.x + box.w / 2) * this.scale;
    this.y = Math.min(0, this.tall / 2 - (box.y + box.h / 2) * this.scale);
    this.x = Math.min(0, this.x);
    this.full = true;
  }
}

/** What is drawn on a pod's square, as a number: its state's mark, and dots of restarts. */
const marksOf = (pod) => 8 * (pod.state === TERMINATING || pod.state === TROUBLE ? pod.state : 0) + Math.min(4, pod.restarts);
const barColour = (share) => (share >= 1 ? BAD : share > 0.8 ? WARN : GOOD);

function clip(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const half = (low + high + 1) >> 1;
    if (c.measureText(`${text.slice(0, half)}…`).width <= width) low = half;
    else high = half - 1;
  }
  return `${text.slice(0, low)}…`;
}
