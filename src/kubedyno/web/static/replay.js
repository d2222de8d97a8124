// All messages since the recording began, as text; the cluster at any moment of them, found from the snapshot before it.

import {Model} from "./model.js";

// Beyond it the oldest go, up to a snapshot.
const MAX_CHARACTERS = 64 << 20, MAX_MESSAGES = 50000;

/** The time of a message: it begins with it. */
export const timeOf = (text) => parseFloat(text.slice(5));
const isWhole = (text) => text.startsWith(',"all":true', text.indexOf(","));

export class Recording {
  constructor() {
    this.texts = [];
    this.times = [];
    this.size = 0;
    this.forget();
  }

  forget() {
    this.model = null;
    this.next = 0;
  }

  add(text) {
    this.texts.push(text);
    this.times.push(timeOf(text));
    this.size += text.length;
    if (this.size > MAX_CHARACTERS || this.texts.length > MAX_MESSAGES) this.fold();
  }

  /** Put what was told to others before in front. */
  prepend(texts) {
    this.texts = texts.concat(this.texts);
    this.times = texts.map(timeOf).concat(this.times);
    for (const text of texts) this.size += text.length;
    this.forget();
  }

  /** Drop the first half, up to a snapshot; without one make it. */
  fold() {
    const half = this.texts.length >> 1;
    let cut = this.texts.findIndex((text, i) => i >= half && isWhole(text));
    let first = [];
    if (cut < 0) {
      cut = half;
      first = [JSON.stringify(snapshotOf(this.at(this.times[cut - 1])))];
    }
    this.times = [...first.map(timeOf), ...this.times.slice(cut)];
    this.texts = [...first, ...this.texts.slice(cut)];
    this.size = this.texts.reduce((sum, text) => sum + text.length, 0);
    this.forget();
  }

  get start() {
    return this.times[0] ?? 0;
  }

  get end() {
    return this.times[this.times.length - 1] ?? 0;
  }

  /** The cluster as it was; goes on from the last moment asked for where it can. `jumped`: a snapshot was passed. */
  at(time, tell) {
    this.jumped = false;
    if (!this.model || time < this.model.time) {
      this.model = new Model();
      this.next = 0;
      for (let i = 1; i < this.texts.length && this.times[i] <= time; i += 1) if (isWhole(this.texts[i])) this.next = i;
      tell = undefined;
    }
    while (this.next < this.texts.length && (this.times[this.next] <= time || !this.model.time)) {
      const message = JSON.parse(this.texts[this.next]);
      this.model.apply(message, message.all ? undefined : tell);
      this.jumped ||= !!message.all;
      this.next += 1;
    }
    return this.model;
  }
}

function snapshotOf(model) {
  return {
    t: model.time, all: true, server: model.server, context: model.context, trouble: model.trouble, r: model.run, q: model.answered,
    m: model.uses && [...model.uses].map(([name, use]) => [name, ...use]),
    n: [...model.nodes.values()].map((n) => [
      n.name, n.ready, n.plane, n.cordoned, n.cpu, n.memory, n.maxPods, n.cidr, n.addresses, n.why, n.labels, n.created, n.taints]),
    p: [...model.pods.values()].map((p) => [
      p.id, p.namespace, p.name, p.node, p.state, p.created, p.ready, p.restarts, p.cpu, p.memory, p.addressed, p.why,
      p.labels, p.seen, p.shown]),
  };
}
