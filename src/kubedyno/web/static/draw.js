// Drawing: node boxes with their pods as squares on one canvas, and what passes over them on a second. A frame draws what
// changed: the squares that are dirty or animated, the heads of their nodes; everything only when the view, the filter
// or the layout does.

import {drawBorder, drawCell, drawHead, headMoved} from "./heads.js";
import {CELL, HEAD, Layout, PAD, SQUARE} from "./layout.js";
import {STARTING, TERMINATING, TROUBLE} from "./model.js";
import {COLOURS, inkOn} from "./palette.js";
import {Passing} from "./passing.js";
import {View} from "./view.js";

const FADE_MS = 450;
// Squares that are animated at once.
const MAX_ANIMATED = 400;
// Smaller than this on the screen, squares are one cell a node.
const LEAST_SQUARE = 2.2;
// Places are made anew at most so often, and never for more than a tenth of the time.
const LAYOUT_MS = 250, LAYOUT_SHARE = 10;
// Colours of age change by themselves.
const AGE_MS = 5000;
const RESTART_DOTS = 4;

export class Drawing extends View {
  constructor(canvas, over, model) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d", {alpha: false});
    this.over = over;
    this.passing = new Passing(over, this);
    this.model = model;
    this.layout = new Layout();
    this.colour = "phase";
    this.sort = "name";
    this.match = null;
    this.walls = false;
    this.selected = null;
    this.animated = new Map();
    this.dirty = new Set();
    this.heads = new Set();
    this.holes = [];
    this.relayout = true;
    this.layoutAt = 0;
    this.drawnAt = 0;
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
    this.layout.forget();
    this.animated.clear();
    this.passing.clear();
    this.dirty.clear();
    this.refilter();
    this.relayout = true;
    this.layoutAt = 0;
  }

  theme(style) {
    for (const name of ["back", "text", "soft", "line", "accent", "bad"])
      this.palette[name] = style.getPropertyValue(`--${name}`).trim();
    this.palette.light = style.colorScheme === "light";
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
    this.relayout = this.full = this.passing.dirty = true;
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
      if (!this.heads.has(box) && headMoved(this, box)) this.touch(box);
      if ((pod.colour !== this.colourOf(pod) || pod.marks !== this.marksOf(pod)) && this.inSight(this.places.get(pod.id))) this.dirty.add(pod);
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

  animate(pod, place, now, out) {
    if (!this.visible(place.box)) return;
    const seen = this.inSight(place);
    if (this.still) {
      if (out && seen) this.holes.push(place);
      return;
    }
    const alone = this.passing.count(place.box.name, out);
    if (!seen) return;
    if (alone && this.animated.size < MAX_ANIMATED)
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
    this.passing.frame(now);
    if (busy) {
      this.frames.push(performance.now() - start);
      if (this.frames.length > 120) this.frames.shift();
    }
  }

  draw(now) {
    const c = this.context;
    this.project(c);
    this.wanted = this.walls ? this.model.wanted() : null;
    if (this.full) this.drawAll(c, now);
    else {
      for (const place of this.holes) this.clearSquare(c, place);
      for (const pod of this.dirty) this.square(c, pod, 1);
      for (const box of this.heads) {
        if (!this.visible(box)) continue;
        drawHead(this, c, box);
        if (this.cells) drawCell(this, c, box);
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

  drawAll(c, now) {
    this.drawnAt = now;
    this.passing.dirty = true;
    c.save();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = this.palette.back;
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    c.restore();
    const {cells} = this;
    const shown = [...this.boxes.values()].filter((box) => this.visible(box));
    for (const box of this.boxes.values()) box.drawn = null;
    for (const box of shown) {
      drawHead(this, c, box);
      drawBorder(this, c, box);
      if (cells) drawCell(this, c, box);
    }
    if (cells) return;
    // Squares of one colour in one path: a fill each would cost most of the frame.
    const groups = new Map(), marked = [];
    for (const box of shown) {
      for (const [slot, pod] of box.pods) {
        const colour = pod.colour = this.colourOf(pod);
        pod.marks = this.marksOf(pod);
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

  /** Whether a pod's square is drawn, and in sight. */
  inSight(place) {
    if (!place || this.cells) return false;
    const [x, y] = this.at(place);
    return this.sees(x, y, SQUARE, SQUARE);
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
    pod.marks = this.marksOf(pod);
    if (pod.marks) this.marksOn(c, pod, x, y);
  }

  /** What is drawn on a pod's square, as a number: its state's mark, and dots of restarts. */
  marksOf(pod) {
    const {state} = pod, pale = state === STARTING && this.palette.light && this.colour === "phase" && !pod.dim;
    const marked = state === TERMINATING || state === TROUBLE || pale;
    return 8 * (marked ? state : 0) + Math.min(RESTART_DOTS, pod.restarts);
  }

  /** Draw, not by colour alone: a cross goes, a bar is in trouble, dots are restarts; on light paper yellow has an edge. */
  marksOn(c, pod, x, y) {
    const ink = pod.dim ? this.palette.line : inkOn(pod.colour);
    c.strokeStyle = c.fillStyle = ink;
    if (pod.state === STARTING && pod.marks >= 8) {
      c.lineWidth = 1;
      c.strokeStyle = this.palette.line;
      c.strokeRect(x + 0.5, y + 0.5, SQUARE - 1, SQUARE - 1);
    } else if (pod.state === TERMINATING || pod.state === TROUBLE) {
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
    for (let i = 0; i < Math.min(RESTART_DOTS, pod.restarts); i += 1) c.fillRect(x + i * 3, y + SQUARE - 2, 2, 2);
  }

  // --- the view -------------------------------------------------------------------------------------------------

  hit(px, py) {
    const {box, pod} = this.layout.hit(...this.pointAt(px, py));
    return box ? {pod, node: this.model.nodes.get(box.name)} : {};
  }

  /** Frame a node. */
  select(name) {
    this.selected = name;
    this.passing.dirty = true;
  }

  /** Bring a node into view and frame it. */
  find(name) {
    this.select(name);
    const box = this.boxes.get(name);
    if (box) this.bring(box);
  }
}
