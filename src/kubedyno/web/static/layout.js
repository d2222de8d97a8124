// Where nodes and pods are: boxes in rows, a slot of a box for each pod, and what is under a point.

export const SQUARE = 11, GAP = 2, PAD = 6, HEAD = 42, CELL = SQUARE + GAP;
// Few nodes have room for their names.
const MIN_WIDTH = 150, WIDE = 280, FEW_NODES = 12, MIN_ROOM = 16, MAX_ROOM = 512;

// By what nodes are sorted: a number of each, the least first.
export const SORTS = {
  name: () => 0,
  age: (node) => node.created,
  cpu: (node, model) => -model.shares(node).shown[0],
  memory: (node, model) => -model.shares(node).shown[1],
  pods: (node, model) => -model.group(node.name).pods.size,
  status: (node) => 2 * node.ready - node.cordoned,
};
const names = new Intl.Collator("en", {numeric: true});

export class Layout {
  constructor() {
    this.boxes = new Map();
    this.places = new Map();
    this.height = 0;
    this.room = MIN_ROOM;
    // Where each name of a node is among all: to compare them as people read them takes long.
    this.ranks = new Map();
  }

  /** Know no pod any more: others come. */
  forget() {
    this.places.clear();
  }

  /** Nodes as they are to be placed: control plane first, then by the sort, then by name. */
  sorted(model, sort) {
    const {nodes} = model;
    if (this.ranks.size !== nodes.size || ![...nodes.keys()].every((name) => this.ranks.has(name)))
      this.ranks = new Map([...nodes.keys()].sort(names.compare).map((name, i) => [name, i]));
    return [...nodes.values()].map((node) => [node, SORTS[sort](node, model), this.ranks.get(node.name)])
      .sort(([a, p, i], [b, q, j]) => b.plane - a.plane || p - q || i - j).map(([node]) => node);
  }

  /** Place everything anew; pods that are gone have been taken, or all forgotten. Control plane first, then by the sort; `width` is that of a row. */
  make(model, sort, width) {
    const nodes = this.sorted(model, sort);
    // The band stays as long as pods come to it and go: a map that jumps is not read.
    const band = this.boxes.get("")?.used > 0;
    this.boxes.clear();
    // Room in powers of two: boxes stay where they are while nodes fill.
    let most = MIN_ROOM;
    for (const node of nodes) most = Math.max(most, model.group(node.name).pods.size);
    this.room = Math.min(MAX_ROOM, 2 ** Math.ceil(Math.log2(most)));
    const least = nodes.length <= FEW_NODES ? WIDE : MIN_WIDTH;
    let x = PAD, y = PAD, line = 0;
    const put = (name, room) => {
      // Pods without a node lie in a band over the whole width, so that nodes stand in whole rows.
      const columns = name === ""
        ? Math.max(12, Math.floor((width - 4 * PAD) / CELL))
        : Math.max(Math.floor((least - 2 * PAD) / CELL), Math.ceil(Math.sqrt(room * 1.6)));
      const rows = Math.max(2, Math.ceil(room / columns));
      const w = columns * CELL + 2 * PAD, h = rows * CELL + HEAD + PAD;
      if (x > PAD && x + w > width) {
        x = PAD;
        y += line + PAD;
        line = 0;
      }
      this.boxes.set(name, {name, x, y, w, h, columns, rows, used: 0, free: [], pods: new Map(), title: null, drawn: null});
      x += w + PAD;
      line = Math.max(line, h);
    };
    const loose = model.group("").pods.size;
    if (loose || band) put("", 2 ** Math.ceil(Math.log2(Math.max(48, loose))));
    for (const node of nodes)
      put(node.name, Math.max(model.group(node.name).pods.size, Math.min(node.maxPods || this.room, this.room)));
    // Nodes that are gone may have pods for a while.
    for (const [name, group] of model.byNode) {
      if (name && group.pods.size && !this.boxes.has(name)) put(name, group.pods.size);
      for (const pod of group.pods) this.put(pod);
    }
    this.height = y + line + PAD;
  }

  /** Give a pod a slot; false: there is none. */
  put(pod) {
    const box = this.boxes.get(pod.node);
    if (!box) return false;
    const slot = box.free.length ? box.free.pop() : box.used;
    if (slot >= box.columns * box.rows) return false;
    if (slot === box.used) box.used += 1;
    // Places are used again: to make 100,000 takes longer than to fill them in.
    const place = this.places.get(pod.id);
    if (place) [place.box, place.slot] = [box, slot];
    else this.places.set(pod.id, {box, slot});
    box.pods.set(slot, pod);
    return true;
  }

  /** Free a pod's slot and return where it was. */
  take(pod) {
    const place = this.places.get(pod.id);
    if (!place) return null;
    place.box.free.push(place.slot);
    place.box.pods.delete(place.slot);
    this.places.delete(pod.id);
    return place;
  }

  at({box, slot}) {
    return [box.x + PAD + (slot % box.columns) * CELL, box.y + HEAD + Math.floor(slot / box.columns) * CELL];
  }

  /** What is at a point: its box, and the pod if it is on one. */
  hit(x, y) {
    for (const box of this.boxes.values()) {
      if (x < box.x || x > box.x + box.w || y < box.y || y > box.y + box.h) continue;
      if (y < box.y + HEAD) return {box};
      const column = Math.floor((x - box.x - PAD) / CELL), row = Math.floor((y - box.y - HEAD) / CELL);
      if (column < 0 || column >= box.columns) return {box};
      return {box, pod: box.pods.get(row * box.columns + column)};
    }
    return {};
  }
}
