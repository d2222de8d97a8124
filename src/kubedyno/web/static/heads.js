// What is drawn of a node beside its pods' squares: its name and bars, its walls, its border; zoomed far out, one cell.
// A box keeps what its head was drawn with, so that only what has changed is drawn anew: letters cost most of a frame.

import {HEAD, PAD} from "./layout.js";
import {PENDING} from "./model.js";
import {BAD, COLOURS, GOOD, shareColour, WARN} from "./palette.js";
import {clip} from "./text.js";

// Letters smaller than this on the screen are left out.
const LEAST_LETTER = 5;
const BARS = ["cpu", "mem", "pods", "ip"];
const TITLE_FONT = "11px system-ui, sans-serif", SMALL_FONT = "9px system-ui, sans-serif";
const TITLE_Y = 4, SMALL_Y = 19, BARS_Y = 31, BAR_H = 6;

const barColour = (share) => (share >= 1 ? BAD : share > 0.8 ? WARN : GOOD);

/** Whether what a node's pods add up to is not what its head, or its cell, was drawn with. */
export function headMoved(drawing, box) {
  const group = drawing.model.group(box.name), {drawn} = box;
  return !drawn || drawing.walls || drawn.live !== group.live || drawn.cpu !== group.cpu || drawn.memory !== group.memory ||
    drawn.addressed !== group.addressed || (drawing.cells && drawn.fine !== group.fine) ||
    (!box.name && drawn.why !== drawing.model.commonWhy());
}

export function drawBorder(drawing, c, box) {
  const stopped = drawing.walls && box.walls?.length;
  c.strokeStyle = stopped ? BAD : drawing.palette.line;
  // As wide on the screen, however far out.
  c.lineWidth = (stopped ? 2.5 : 1) / Math.min(1, drawing.scale);
  c.strokeRect(box.x + 0.5, box.y + 0.5, box.w, box.h);
}

/** One cell for a node: as high as it is full, and coloured by how many of its pods are well. */
export function drawCell(drawing, c, box) {
  const group = drawing.model.group(box.name), size = group.pods.size;
  const w = box.w - 2 * PAD, h = box.h - HEAD - PAD;
  c.fillStyle = drawing.palette.soft;
  c.fillRect(box.x + PAD, box.y + HEAD, w, h);
  if (!size) return;
  c.fillStyle = box.name ? shareColour(group.fine / size) : COLOURS.phase({state: PENDING});
  c.fillRect(box.x + PAD, box.y + HEAD, w, h * Math.min(1, size / (box.columns * box.rows)));
}

/** Draw what has changed of a node's head since it was drawn. */
export function drawHead(drawing, c, box) {
  const {model, palette} = drawing, node = model.nodes.get(box.name), before = box.drawn;
  const group = model.group(box.name), letters = 11 * drawing.scale >= LEAST_LETTER;
  const {live, cpu, memory, addressed, fine} = group;
  const why = box.name ? "" : model.commonWhy();
  const now = box.drawn = {title: "", below: "", bars: "", live, cpu, memory, addressed, fine, why};
  box.walls = node && drawing.walls ? model.walls(node, drawing.wanted) : null;
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
    clear(2, SMALL_Y - 3);
    if (letters) drawTitle(drawing, c, box, name, text, node && !node.ready);
  }
  const w = (box.w - 2 * PAD - 9) / 4, place = (i) => box.x + PAD + i * (w + 3);
  const walls = letters && box.walls?.length ? `✕ ${[...new Set(box.walls.map(([short]) => short))].join(" ")}` : "";
  now.below = walls || (letters ? why || (node ? "names" : "") : "");
  if (before?.below !== now.below) {
    clear(SMALL_Y - 1, BARS_Y - SMALL_Y);
    c.font = SMALL_FONT;
    c.fillStyle = walls || (why && drawing.walls) ? palette.bad : palette.text;
    const line = walls || why;
    if (line && letters) c.fillText(clip(c, line, box.w - 2 * PAD), box.x + PAD, box.y + SMALL_Y);
    else if (now.below) BARS.forEach((bar, i) => c.fillText(bar, place(i), box.y + SMALL_Y));
  }
  if (node) drawBars(drawing, c, box, node, before, clear, place, w);
  if (drawing.walls && !drawing.full) drawBorder(drawing, c, box);
}

function drawBars(drawing, c, box, node, before, clear, place, w) {
  const {model, palette} = drawing, {shown, asked, used} = model.shares(node), now = box.drawn;
  // To the tenth of a unit: finer is not seen.
  const long = (share) => Math.round(10 * w * Math.min(1, share)) / 10;
  now.bars = [...shown.map((share) => `${long(share)}${barColour(share)}`), ...(used ? asked.map(long) : [])].join();
  if (before?.bars === now.bars) return;
  clear(BARS_Y - 1, HEAD - BARS_Y - 1);
  shown.forEach((share, i) => {
    const x = place(i), y = box.y + BARS_Y;
    c.fillStyle = palette.soft;
    c.fillRect(x, y, w, BAR_H);
    c.fillStyle = barColour(share);
    c.fillRect(x, y, long(share), BAR_H);
    if (used && i < 2) {
      // A line where requests are: use and requests are two walls.
      c.fillStyle = palette.text;
      c.fillRect(x + long(asked[i]) - 0.5, y - 1, 1.5, BAR_H + 2);
    }
  });
}

function drawTitle(drawing, c, box, name, text, bad) {
  c.font = TITLE_FONT;
  c.fillStyle = bad ? drawing.palette.bad : drawing.palette.text;
  const whole = `${name} ${text.length}`;
  if (box.title?.of !== whole) box.title = {of: whole, text: clip(c, name, box.w - 2 * PAD - c.measureText(text).width - 6)};
  c.fillText(box.title.text, box.x + PAD, box.y + TITLE_Y);
  c.textAlign = "right";
  c.fillText(text, box.x + box.w - PAD, box.y + TITLE_Y);
  c.textAlign = "left";
}
