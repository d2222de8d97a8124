// Pointer and keys: drag, wheel and arrows move the map, a click opens, a letter begins a filter.

import {nodeLines, podLines} from "./panel.js";

const STEP = 60, CLICK_PX = 4;

/** Returns what shows the tip anew, as things are then. */
export function attach({stage, tip, filter, drawing, panel, zoomed, play, reset}) {
  const zoom = (factor, x, y) => { drawing.zoom(factor, x, y); zoomed(); };
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.offsetX, event.offsetY);
  }, {passive: false});
  let drag = null, moved = 0, over = null;
  stage.onpointerdown = (event) => {
    drag = [event.clientX, event.clientY];
    moved = 0;
    leave();
    stage.setPointerCapture(event.pointerId);
  };
  stage.onpointerup = stage.onpointercancel = () => { drag = null; };
  stage.onpointermove = (event) => {
    if (drag) {
      const dx = event.clientX - drag[0], dy = event.clientY - drag[1];
      moved += Math.abs(dx) + Math.abs(dy);
      drawing.move(dx, dy);
      drag = [event.clientX, event.clientY];
      return;
    }
    over = [event.offsetX, event.offsetY];
    show();
  };
  function show() {
    const [x, y] = over ?? [-1, -1], {pod, node} = over ? drawing.hit(x, y) : {};
    tip.hidden = !pod && !node;
    if (tip.hidden) return;
    const text = (pod ? [`${pod.namespace}/${pod.name}`, ...podLines(pod)] : nodeLines(node, drawing.model)).join("\n");
    if (tip.textContent !== text) tip.textContent = text;
    const {offsetWidth: w, offsetHeight: h} = tip;
    tip.style.setProperty("left", `${Math.max(0, Math.min(x + 14, stage.clientWidth - w - 4))}px`);
    tip.style.setProperty("top", `${y + 14 + h < stage.clientHeight ? y + 14 : Math.max(0, y - h - 8)}px`);
  }
  function leave() {
    over = null;
    tip.hidden = true;
  }
  stage.onpointerleave = leave;
  stage.onclick = (event) => {
    if (moved > CLICK_PX) return;
    const {pod, node} = drawing.hit(event.offsetX, event.offsetY);
    if (pod) panel.pod(pod);
    else if (node) panel.nodeFacts(node);
  };
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") { reset(); return; }
    const {activeElement: at} = document;
    if (["INPUT", "SELECT"].includes(at?.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowLeft: () => drawing.move(STEP, 0), ArrowRight: () => drawing.move(-STEP, 0), ArrowUp: () => drawing.move(0, STEP),
      ArrowDown: () => drawing.move(0, -STEP), PageUp: () => drawing.move(0, stage.clientHeight * 0.9),
      PageDown: () => drawing.move(0, -stage.clientHeight * 0.9), Home: () => drawing.home(),
      "+": () => zoom(1.25, stage.clientWidth / 2, stage.clientHeight / 2),
      "-": () => zoom(0.8, stage.clientWidth / 2, stage.clientHeight / 2),
      "?": () => panel.toggle("help", () => panel.help()),
    };
    // On a button these are its own, and in the panel arrows scroll.
    if (at === stage || at === document.body || !at) Object.assign(keys, {Enter: () => panel.table(), " ": play});
    else if (panel.box.contains(at)) for (const key of ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home"]) delete keys[key];
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    } else if (event.key.length === 1 && /[\w=./]/.test(event.key)) filter.focus();
  });
  return show;
}
