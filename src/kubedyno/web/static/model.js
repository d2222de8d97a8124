// The cluster as the page knows it, now and at any moment since it was opened.
// A log of all messages is kept, so that the scrubber can play it again from the first snapshot.

export const STATES = ["Pending", "Starting", "Ready", "Succeeded", "Failed", "Terminating", "Trouble"];
// Messages kept for the replay; beyond it the oldest are folded into the first snapshot.
const MAX_LOG = 20000;

export class Model {
  constructor() {
    this.nodes = new Map();
    this.pods = new Map();
    this.byNode = new Map();
    this.time = 0;
    this.trouble = "";
  }

  clear() {
    this.nodes.clear();
    this.pods.clear();
    this.byNode.clear();
  }

  // Apply one message; calls tell(kind, pod) for each pod that appeared, changed or went.
  apply(message, tell = () => {}) {
    this.time = message.t;
    if (message.all) this.clear();
    if (message.trouble !== undefined) this.trouble = message.trouble;
    for (const v of message.n || []) {
      const old = this.nodes.get(v[0]);
      this.nodes.set(v[0], {
        name: v[0], ready: v[1], plane: v[2], cordoned: v[3], cpu: v[4], memory: v[5], maxPods: v[6], cidr: v[7],
        addresses: v[8], why: v[9], labels: v[10], first: old ? old.first : message.t,
      });
      if (!this.byNode.has(v[0])) this.byNode.set(v[0], new Set());
    }
    for (const name of message.x || []) this.nodes.delete(name);
    for (const v of message.p || []) {
      const known = this.pods.get(v[0]);
      if (known) this.leave(known);
      const pod = {
        id: v[0], namespace: v[1], name: v[2], node: v[3], state: v[4], created: v[5], ready: v[6], restarts: v[7],
        cpu: v[8], memory: v[9], addressed: v[10], why: v[11], labels: v[12], seen: message.t,
        // The browser saw it come; a ready time with it is the API's, whole seconds.
        shown: message.all ? v[6] : 0,
      };
      this.pods.set(pod.id, pod);
      this.enter(pod);
      if (!known) tell("new", pod);
    }
    for (const v of message.u || []) {
      const pod = this.pods.get(v[0]);
      if (!pod) continue;
      if (pod.node !== v[1]) {
        this.leave(pod);
        pod.node = v[1];
        this.enter(pod);
        tell("moved", pod);
      }
      if (v[2] === 2 && pod.state !== 2) pod.shown = message.t;
      pod.state = v[2];
      pod.ready = v[3];
      pod.restarts = v[4];
      pod.addressed = v[5];
      pod.why = v[6];
      tell("changed", pod);
    }
    for (const id of message.g || []) {
      const pod = this.pods.get(id);
      if (!pod) continue;
      this.leave(pod);
      this.pods.delete(id);
      tell("gone", pod);
    }
  }

  enter(pod) {
    let set = this.byNode.get(pod.node);
    if (!set) this.byNode.set(pod.node, (set = new Set()));
    set.add(pod);
  }

  leave(pod) {
    const set = this.byNode.get(pod.node);
    if (set) set.delete(pod);
  }

  counts() {
    const counts = new Array(STATES.length).fill(0);
    for (const pod of this.pods.values()) counts[pod.state]++;
    return counts;
  }
}

export class Recording {
  constructor() {
    this.messages = [];
  }

  add(message) {
    // A snapshot that comes later (a reconnect) is a message like any other.
    this.messages.push(message);
    if (this.messages.length > MAX_LOG) {
      const model = new Model();
      const half = this.messages.length >> 1;
      for (const m of this.messages.slice(0, half)) model.apply(m);
      this.messages = [snapshotOf(model), ...this.messages.slice(half)];
    }
  }

  get start() {
    return this.messages.length ? this.messages[0].t : 0;
  }

  get end() {
    return this.messages.length ? this.messages[this.messages.length - 1].t : 0;
  }

  // The cluster as it was at a moment.
  at(time) {
    const model = new Model();
    for (const message of this.messages) {
      if (message.t > time && model.time) break;
      model.apply(message);
    }
    return model;
  }
}

function snapshotOf(model) {
  return {
    t: model.time, all: true, trouble: model.trouble,
    n: [...model.nodes.values()].map((n) => [
      n.name, n.ready, n.plane, n.cordoned, n.cpu, n.memory, n.maxPods, n.cidr, n.addresses, n.why, n.labels]),
    p: [...model.pods.values()].map((p) => [
      p.id, p.namespace, p.name, p.node, p.state, p.created, p.ready, p.restarts, p.cpu, p.memory, p.addressed, p.why,
      p.labels]),
  };
}

// What the filter says: words are parts of a name, a=b a label, namespace=x a namespace; all must hold.
export function matcher(text) {
  const terms = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!terms.length) return null;
  return (pod) => terms.every((term) => {
    const at = term.indexOf("=");
    if (at < 0) return pod.name.toLowerCase().includes(term) || pod.namespace.toLowerCase().includes(term);
    const key = term.slice(0, at), value = term.slice(at + 1);
    if (key === "namespace") return pod.namespace.toLowerCase() === value;
    if (key === "node") return pod.node.toLowerCase() === value;
    if (key === "state") return STATES[pod.state].toLowerCase() === value;
    for (const [k, v] of Object.entries(pod.labels || {}))
      if (k.toLowerCase() === key && v.toLowerCase() === value) return true;
    return false;
  });
}
