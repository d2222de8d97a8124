// What passes over the squares, on a layer of its own: numbers of many pods that came or went at once, and the frame of the
// node that is selected.

import {HEAD} from "./layout.js";

const PUFF_MS = 1200;
// Of one node between two frames; more are told by a number.
const MAX_OF_A_NODE = 12, MAX_PUFFS = 60;

export class Passing {
  /** `drawing` has boxes, selected, palette and the view. */
  constructor(canvas, drawing) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.drawing = drawing;
    this.puffs = [];
    this.crowds = new Map();
    this.dirty = false;
  }

  clear() {
    this.puffs.length = 0;
    this.crowds.clear();
  }

  /** Count a pod that came to a node or went; says whether so few did since the last frame that each is shown. */
  count(name, went) {
    let crowd = this.crowds.get(name);
    if (!crowd) this.crowds.set(name, (crowd = {came: 0, went: 0}));
    if (went) crowd.went += 1;
    else crowd.came += 1;
    return crowd.came + crowd.went <= MAX_OF_A_NODE;
  }

  frame(now) {
    for (const [name, {came, went}] of this.crowds) {
      if (came + went > MAX_OF_A_NODE && this.puffs.length < MAX_PUFFS)
        this.puffs.push({name, text: [came && `+${came}`, went && `−${went}`].filter(Boolean).join(" "), start: now});
    }
    this.crowds.clear();
    if (!this.puffs.length && !this.dirty) return;
    this.dirty = false;
    this.puffs = this.puffs.filter((puff) => now - puff.start < PUFF_MS);
    // A layer costs the browser part of each frame, also when there is nothing on it.
    const {canvas, drawing} = this, used = this.puffs.length > 0 || drawing.boxes.has(drawing.selected);
    if (canvas.hidden === used) canvas.hidden = !used;
    if (used) this.draw(now);
  }

  draw(now) {
    const c = this.context, {drawing} = this, selected = drawing.boxes.get(drawing.selected);
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    drawing.project(c);
    if (selected) {
      c.strokeStyle = drawing.palette.accent;
      c.lineWidth = 3 / Math.min(1, drawing.scale);
      c.strokeRect(selected.x, selected.y, selected.w, selected.h);
    }
    c.textAlign = "center";
    c.font = `bold ${Math.max(18, 14 / drawing.scale)}px system-ui, sans-serif`;
    for (const {name, text, start} of this.puffs) {
      const box = drawing.boxes.get(name);
      if (!box || !drawing.visible(box)) continue;
      const part = Math.max(0, (now - start) / PUFF_MS);
      c.globalAlpha = 1 - part;
      c.lineWidth = 4;
      c.strokeStyle = drawing.palette.back;
      c.fillStyle = drawing.palette.text;
      const x = box.x + box.w / 2, y = box.y + HEAD + (box.h - HEAD) / 2 - 14 * part;
      c.strokeText(text, x, y);
      c.fillText(text, x, y);
    }
    c.globalAlpha = 1;
  }
}
