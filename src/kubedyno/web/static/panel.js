// The panel beside the map: why pods do not run, one pod with its events, the table for screen readers, keys. Everything
// that a cluster says is set as text.

import {gibOf, mib, READY, STATES, SUCCEEDED} from "./model.js";
import {startupOf} from "./palette.js";
import {seconds} from "./ribbon.js";
import {clockOf, plain} from "./text.js";

const MOST_NODES = 500, MOST_PODS = 300;
const KEYS = [
  ["letters", "filter pods by name; label=value, namespace=x, node=x, state=x"], ["Esc", "no filter, no panel, live"],
  ["arrows, PageUp, PageDown, Home", "move the map"], ["+ -", "zoom"], ["Space", "play or stop the replay"],
  ["Enter", "on the map: the table"], ["drag, wheel", "move, zoom"], ["click on a pod", "its events; why it does not run"],
  ["click on a node", "what it has and holds, its walls, its pods"],
];
const MARKS = [
  "bars of a node: CPU, memory, pods of maxPods, addresses of the PodCIDR; the line in the first two is what is requested",
  "a square with a cross is being deleted, one with a stroke is in trouble, dots at its foot are restarts",
  "zoomed far out, a node is one cell: green when all its pods are Ready or have succeeded, yellow when half or more are, else red",
  "+312: so many pods came at once; −40: went",
  "ribbon: phases of the run; pods by state; rates a second (dashed: asked, blue: reached, green: became Ready, red ticks: 429s); startup latency, P50 and P99",
];

export function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function link(text, act) {
  const made = element("button", text, "link");
  made.type = "button";
  made.onclick = act;
  return made;
}

// A value that is not to be broken: a number, a state, a time.
const FIGURE = /^[\w.:/% -]{1,18}$/;

function table(caption, heads, rows) {
  const made = element("table"), head = element("tr");
  made.append(element("caption", caption));
  if (!rows.length) return made;
  for (const name of heads) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  made.append(head);
  for (const values of rows) {
    const row = element("tr");
    for (const value of values) {
      const cell = element("td", undefined, FIGURE.test(value) ? "figure" : "");
      cell.append(value instanceof Node ? value : String(value));
      row.append(cell);
    }
    made.append(row);
  }
  return made;
}

export class Panel {
  /** `page` has drawing, showWalls() and refocus(). */
  constructor(box, buttons, page) {
    this.box = box;
    this.buttons = buttons;
    this.page = page;
    this.kind = "";
    this.turn = 0;
  }

  show(kind, ...parts) {
    this.kind = kind;
    this.turn += 1;
    this.box.hidden = false;
    this.box.replaceChildren(link("close", () => this.close()), ...parts);
    for (const [name, button] of Object.entries(this.buttons)) button.ariaExpanded = String(name === kind);
    return this.turn;
  }

  close() {
    this.kind = "";
    this.turn += 1;
    this.box.hidden = true;
    for (const button of Object.values(this.buttons)) button.ariaExpanded = "false";
    this.page.refocus();
  }

  toggle(kind, open) {
    if (this.kind === kind) this.close();
    else open();
  }

  help() {
    this.show("help", table("keys", ["key", "what it does"], KEYS), ...MARKS.map((text) => element("p", text)));
  }

  async ask(path, turn) {
    const answer = await fetch(path);
    const text = await answer.text();
    if (turn !== this.turn) return null;
    if (!answer.ok) throw new Error(text);
    return JSON.parse(plain(text));
  }

  async why() {
    const turn = this.show("why", element("p", "asking the cluster …"));
    let parts;
    try {
      const found = await this.ask("why", turn);
      if (!found) return;
      parts = found.findings.map((one) => this.finding(one));
      parts.push(...found.missing.map((line) => element("p", `cannot say: ${line}`)));
      if (!parts.length) parts = [element("p", this.page.drawing.model.pods.size ? "all pods run" : "there are no pods")];
    } catch (error) {
      if (turn !== this.turn) return;
      parts = [element("p", `cannot say: ${error.message}`)];
    }
    this.show("why", element("h2", "why not?"), ...parts, this.wallsTable());
  }

  finding(finding) {
    const box = element("section", undefined, "wall");
    box.append(element("h3", finding.title));
    for (const [name, lines] of [["seen", finding.evidence], ["do", finding.remedy]]) {
      if (!lines.length) continue;
      box.append(element("strong", name));
      for (const line of lines) box.append(element("code", line));
    }
    if (finding.next_wall) box.append(element("p", `next wall: ${finding.next_wall}`));
    box.append(link("show which pods", () => this.page.showPods(finding.pods)), " ",
      link("show which nodes are at a wall", () => this.page.showWalls()));
    return box;
  }

  wallsTable() {
    const {drawing} = this.page, {model} = drawing, wanted = model.wanted(), rows = [];
    for (const node of model.nodes.values())
      for (const [short, long] of model.walls(node, wanted)) rows.push([this.node(node.name), short, long]);
    const caption = rows.length ? "nodes that take no more pods, or not all" : "no node is at a wall";
    return table(caption, ["node", "wall", "what was seen"], rows.slice(0, MOST_NODES));
  }

  node(name) {
    return link(name, () => this.page.drawing.find(name));
  }

  async pod(pod) {
    const facts = [element("h2", `${pod.namespace}/${pod.name}`), element("p", podLines(pod).join("\n"), "lines")];
    const walls = () => link("show which nodes are at a wall", () => this.page.showWalls());
    const turn = this.show("pod", ...facts, element("p", "asking for its events …"));
    let below;
    try {
      const query = new URLSearchParams({namespace: pod.namespace, name: pod.name});
      const told = await this.ask(`pod?${query}`, turn);
      if (!told) return;
      const events = told.events.map(({type, reason, message, count, at}) => [
        at ? clockOf(Date.parse(at) / 1000) : "-", `${reason}${count > 1 ? ` ×${count}` : ""}`,
        type === "Warning" ? link(message, () => this.page.showWalls()) : message]);
      below = [table(events.length ? "events, the latest first" : "no events", ["at", "reason", "message"], events)];
      if (told.uses.length)
        below.push(table("use (metrics.k8s.io)", ["container", "CPU", "memory"], told.uses.map(([name, cpu, memory]) => [name, `${cpu}m`, mib(memory)])));
    } catch (error) {
      if (turn !== this.turn) return;
      below = [element("p", `cannot say: ${error.message}`)];
    }
    this.show("pod", ...facts, ...(pod.why ? [walls()] : []), ...below, link("why not? of all pods", () => this.why()));
  }

  table() {
    const {model, match} = this.page.drawing;
    const nodes = [...model.nodes.values()].slice(0, MOST_NODES).map((node) => {
      const group = model.group(node.name), use = model.uses?.get(node.name) ?? [group.cpu, group.memory];
      return [
        this.node(node.name), node.ready ? "yes" : "no", `${use[0]}m/${node.cpu}m`, `${gibOf(use[1])}/${gibOf(node.memory)}`,
        `${group.live}/${node.maxPods}`, node.addresses ? `${group.addressed}/${node.addresses}` : "-", group.pods.size - group.fine];
    });
    const source = model.uses ? "use" : "requested";
    const heads = ["node", "ready", `CPU ${source}`, `GiB ${source}`, "pods", "addresses", "not Ready"];
    const shown = (text, have, most) => (have > most ? `${text}, the first ${most} of ${have}` : `${text}, ${have}`);
    const wanted = [];
    for (const pod of model.pods.values()) {
      if (match ? match(pod) : pod.state !== READY && pod.state !== SUCCEEDED) wanted.push(pod);
    }
    this.show("list", table(shown("nodes", model.nodes.size, MOST_NODES), heads, nodes),
      this.podsTable(shown(match ? "pods that match" : "pods that are not Ready", wanted.length, MOST_PODS), wanted, true));
  }

  /** Some pods, those that say what is wrong first; with a column of their nodes or without. */
  podsTable(caption, pods, nodes) {
    pods.sort((a, b) => !a.why - !b.why || (a.name < b.name ? -1 : 1));
    const rows = pods.slice(0, MOST_PODS).map((pod) => [
      link(`${pod.namespace}/${pod.name}`, () => this.pod(pod)), STATES[pod.state], ...(nodes ? [pod.node || "-"] : []), pod.restarts, pod.why]);
    return table(caption, ["pod", "state", ...(nodes ? ["node"] : []), "restarts", "why"], rows);
  }

  /** What a node has and holds, what is in the way of more, and its pods. */
  nodeFacts(node) {
    const {model} = this.page.drawing, pods = [...model.group(node.name).pods];
    const [title, ...lines] = nodeLines(node, model), facts = element("p", lines.join("\n"), "lines");
    const labels = element("p", Object.entries(node.labels).map(([k, v]) => `${k}=${v}`).join("\n"), "lines");
    this.page.drawing.select(node.name);
    this.show("node", element("h2", title), facts, this.podsTable(`pods, ${pods.length}`, pods, false), element("strong", "labels"), labels);
  }

  /** Show a table again as things are now, unless somebody is in it. */
  refresh() {
    if (this.kind === "list" && !this.box.contains(document.activeElement) && !this.box.matches(":hover")) this.table();
  }
}

export function podLines(pod) {
  const lines = [`${STATES[pod.state]}${pod.node ? ` on ${pod.node}` : ""}`];
  const took = startupOf(pod);
  if (took !== null && pod.seen) lines.push(`Ready ${seconds(took)} after it was seen`);
  else if (took !== null) lines.push(`Ready ${took} s after creation (the API's time, whole seconds)`);
  if (pod.cpu || pod.memory) lines.push(`requests ${pod.cpu}m CPU, ${mib(pod.memory)}`);
  if (pod.restarts) lines.push(`${pod.restarts} restarts`);
  if (pod.why) lines.push(pod.why);
  lines.push(...Object.entries(pod.labels ?? {}).slice(0, 8).map(([k, v]) => `${k}=${v}`));
  return lines;
}

export function nodeLines(node, model) {
  const group = model.group(node.name), use = model.uses?.get(node.name);
  const lines = [`${node.name}${node.ready ? "" : " NotReady"}${node.cordoned ? " SchedulingDisabled" : ""}`];
  if (use) lines.push(`CPU used ${use[0]}m, memory used ${mib(use[1])} (metrics.k8s.io)`);
  lines.push(
    `CPU requested ${group.cpu}m of ${node.cpu}m`, `memory requested ${mib(group.memory)} of ${mib(node.memory)}`,
    `pods ${group.live} of ${node.maxPods} (maxPods)`,
    node.addresses ? `addresses ${group.addressed} of ${node.addresses} (${node.cidr})` : "no PodCIDR");
  for (const [short, long] of model.walls(node)) lines.push(`${short}: ${long}`);
  return lines;
}
