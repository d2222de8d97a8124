// Which part of the map is in the window: where it lies, how large it is drawn, what of it is in sight.

import {LEAST_SCALE, MOST_SCALE} from "./settings.js";

export class View {
  constructor() {
    this.scale = 1;
    // Zoom of the page when it was opened: boxes fill its width.
    this.base = 1;
    this.x = 0;
    this.y = 0;
    this.width = this.tall = 0;
    this.ratio = 1;
    // All of it is to be drawn.
    this.full = true;
  }

  sees(x, y, w, h) {
    const left = x * this.scale + this.x, top = y * this.scale + this.y;
    return left < this.width && top < this.tall && left + w * this.scale > 0 && top + h * this.scale > 0;
  }

  visible(box) {
    return this.sees(box.x, box.y, box.w, box.h);
  }

  /** Where a point of the window lies on the map. */
  pointAt(px, py) {
    return [(px - this.x) / this.scale, (py - this.y) / this.scale];
  }

  /** Have a canvas draw in the map's units. */
  project(c) {
    const s = this.scale * this.ratio;
    c.setTransform(s, 0, 0, s, this.x * this.ratio, this.y * this.ratio);
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
    const scale = Math.min(MOST_SCALE, Math.max(LEAST_SCALE, this.scale * factor));
    this.x = x - (x - this.x) * (scale / this.scale);
    this.y = y - (y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.full = true;
  }

  /** Bring a box into sight. */
  bring(box) {
    this.x = Math.min(0, this.width / 3 - (box.x + box.w / 2) * this.scale);
    this.y = Math.min(0, this.tall / 2 - (box.y + box.h / 2) * this.scale);
    this.full = true;
  }
}
