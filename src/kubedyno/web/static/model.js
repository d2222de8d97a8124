// The cluster as the page knows it at one moment: messages in, nodes and pods and their sums out.

export const STATES = ["Pending", "Starting", "Ready", "Succeeded", "Failed", "Terminating", "Trouble"];
export const PENDING = 0, STARTING = 1, READY = 2, SUCCEEDED = 3, FAILED = 4, TERMINATING = 5, TROUBLE = 6;

/** The pods of one node, "" for those that have none, and what they add up to. */
class Group {
  constructor() {
    this.pods = new Set();
    // Of all pods, how many are as they should be; of those that take something of the node, what they take.
    this.fine = this.live = this.cpu = this.memory = this.addressed = 0;
  }

  count(pod, sign) {
    this.fine += sign * (pod.state === READY || pod.state === SUCCEEDED);
    if (pod.state === SUCCEEDED || pod.state === FAILED) return;
    this.live += sign;
    this.cpu += sign * pod.cpu;
    this.memory += sign * pod.memory;
    this.addressed += sign * pod.addressed;
  }
}

const NOBODY = new Group();
// Of the pods without a node so many are asked what most of them wait for.
const ASKED = 300;

export class Model {
  constructor() {
    this.nodes = new Map();
    this.pods = new Map();
    this.byNode = new Map();
    this.counts = new Array(STATES.length).fill(0);
    // Node → [thousandths of a core, bytes] as metrics.k8s.io says; null where nobody does.
    this.uses = null;
    this.run = null;
    // [writes a second, 429s, seconds] as the API server counts them; empty where it does not, null before it was asked.
    this.answered = null;
    this.server = this.context = "";
    this.time = 0;
    this.trouble = "";
  }

  clear() {
    this.nodes.clear();
    this.pods.clear();
    this.byNode.clear();
    this.counts.fill(0);
  }

  group(name) {
    return this.byNode.get(name) ?? NOBODY;
  }

  /** Apply one message; calls tell(kind, pod, node before) for each pod that appeared, moved, changed or went. */
  apply(message, tell = () => {}) {
    this.time = message.t;
    if (message.all) this.clear();
    if (message.trouble !== undefined) this.trouble = message.trouble;
    if (message.server !== undefined) [this.server, this.context] = [message.server, message.context];
    if (message.m !== undefined) this.uses = message.m && new Map(message.m.map(([name, cpu, memory]) => [name, [cpu, memory]]));
    if (message.r !== undefined) this.run = message.r;
    if (message.q !== undefined) this.answered = message.q;
    for (const v of message.n ?? [])
      this.nodes.set(v[0], {
        name: v[0], ready: v[1], plane: v[2], cordoned: v[3], cpu: v[4], memory: v[5], maxPods: v[6], cidr: v[7],
        addresses: v[8], why: v[9], labels: v[10], created: v[11], taints: v[12],
      });
    for (const name of message.x ?? []) this.nodes.delete(name);
    for (const v of message.p ?? []) {
      const known = this.pods.get(v[0]), told = {
        id: v[0], namespace: v[1], name: v[2], node: v[3], state: v[4], created: v[5], ready: v[6], restarts: v[7],
        cpu: v[8], memory: v[9], addressed: v[10], why: v[11], labels: v[12], seen: v[13], shown: v[14],
      };
      if (known) {
        // It stays the same object: its place on the map holds it.
        this.leave(known);
        const before = known.node;
        this.enter(Object.assign(known, told));
        tell(before === known.node ? "changed" : "moved", known, before);
      } else {
        // Of its drawing: greyed by the filter, and what its square was drawn with.
        const pod = {...told, dim: false, colour: "", marks: 0};
        this.pods.set(pod.id, pod);
        this.enter(pod);
        tell("new", pod, "");
      }
    }
    for (const v of message.u ?? []) {
      const pod = this.pods.get(v[0]);
      if (!pod) continue;
      this.leave(pod);
      const before = pod.node;
      [, pod.node, pod.state, pod.ready, pod.restarts, pod.addressed, pod.why, pod.shown] = v;
      this.enter(pod);
      tell(before === pod.node ? "changed" : "moved", pod, before);
    }
    for (const id of message.g ?? []) {
      const pod = this.pods.get(id);
      if (!pod) continue;
      this.leave(pod);
      this.pods.delete(id);
      tell("gone", pod, pod.node);
    }
  }

  enter(pod) {
    let group = this.byNode.get(pod.node);
    if (!group) this.byNode.set(pod.node, (group = new Group()));
    group.pods.add(pod);
    group.count(pod, 1);
    this.counts[pod.state] += 1;
  }

  leave(pod) {
    const group = this.byNode.get(pod.node);
    group.pods.delete(pod);
    group.count(pod, -1);
    this.counts[pod.state] -= 1;
  }

  /** Parts of a node that are taken: CPU, memory, pods, addresses; use where it is known, requests beside it. */
  shares(node) {
    const group = this.group(node.name), use = this.uses?.get(node.name);
    const part = (taken, all) => (all ? taken / all : 0);
    const asked = [part(group.cpu, node.cpu), part(group.memory, node.memory)];
    const used = use && [part(use[0], node.cpu), part(use[1], node.memory)];
    return {shown: [...(used ?? asked), part(group.live, node.maxPods), part(group.addressed, node.addresses)], asked, used: !!use};
  }

  /** The least that a pod without a node asks for: a node that lacks it takes none. */
  wanted() {
    const found = {pods: 0, cpu: Infinity, memory: Infinity};
    for (const pod of this.group("").pods) {
      if (pod.state !== PENDING && pod.state !== TROUBLE) continue;
      found.pods += 1;
      found.cpu = Math.min(found.cpu, pod.cpu);
      found.memory = Math.min(found.memory, pod.memory);
    }
    return found;
  }

  /** What most of the pods without a node say they wait for; "" when they do not say it. */
  commonWhy() {
    const counts = new Map();
    let asked = 0, found = "";
    for (const {why} of this.group("").pods) {
      if (why) counts.set(why, (counts.get(why) || 0) + 1);
      if (counts.get(why) > (counts.get(found) || 0)) found = why;
      if ((asked += 1) >= ASKED) break;
    }
    return found;
  }

  /** What keeps pods off a node: [short, long] each. */
  walls(node, wanted = this.wanted()) {
    const group = this.group(node.name), found = [];
    if (!node.ready) found.push(["NotReady", node.why || "the node is not Ready"]);
    if (node.cordoned) found.push(["cordoned", "the node is unschedulable"]);
    for (const taint of node.taints)
      if (!taint.startsWith("node.kubernetes.io/unschedulable")) found.push(["taint", `taint ${taint}`]);
    if (node.maxPods && group.live >= node.maxPods) found.push(["maxPods", `${group.live} pods of ${node.maxPods} (maxPods)`]);
    if (node.addresses && group.addressed >= node.addresses)
      found.push(["PodCIDR", `${group.addressed} addresses of ${node.addresses} in ${node.cidr}`]);
    const lacks = (asked, least, all) => all && (asked >= all || (wanted.pods && least > 0 && asked + least > all));
    if (lacks(group.cpu, wanted.cpu, node.cpu)) found.push(["CPU", `${group.cpu}m of ${node.cpu}m CPU requested`]);
    if (lacks(group.memory, wanted.memory, node.memory))
      found.push(["memory", `${mib(group.memory)} of ${mib(node.memory)} requested`]);
    return found;
  }
}

export const mib = (bytes) => (bytes >= 1 << 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`);

/** Bytes as GiB, without the unit: as in a column of them. */
export const gibOf = (bytes) => (bytes / 2 ** 30).toFixed(bytes < 10 * 2 ** 30 ? 1 : 0);

// What the filter says: words are parts of a name, a=b a label; namespace, node and state as well; all must hold.
export function matcher(text) {
  const terms = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!terms.length) return null;
  // Many pods have their namespace and their node in common.
  const known = new Map();
  const has = (text, term) => {
    const key = `${term} ${text}`;
    let found = known.get(key);
    if (found === undefined) known.set(key, (found = text.toLowerCase().includes(term)));
    return found;
  };
  return (pod) => terms.every((term) => {
    const at = term.indexOf("=");
    if (at < 0) return pod.name.toLowerCase().includes(term) || has(pod.namespace, term) || has(pod.node, term);
    const key = term.slice(0, at), value = term.slice(at + 1);
    if (key === "namespace") return pod.namespace.toLowerCase() === value;
    if (key === "node") return pod.node.toLowerCase() === value;
    if (key === "state" || key === "phase") return STATES[pod.state].toLowerCase() === value;
    for (const [k, v] of Object.entries(pod.labels ?? {}))
      if (k.toLowerCase() === key && v.toLowerCase() === value) return true;
    return false;
  });
}
