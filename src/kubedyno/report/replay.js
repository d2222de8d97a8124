"use strict";
(function () {
  const data = JSON.parse(document.getElementById("replay-data").textContent);
  document.querySelectorAll(".replay").forEach(function (box, number) {
    const run = data[number];
    const bytes = atob(run.columns);
    const raw = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) raw[i] = bytes.charCodeAt(i);
    const view = new DataView(raw.buffer);
    const count = run.count;
    const column = function (n) {
      const found = new Uint16Array(count);
      for (let i = 0; i < count; i++) found[i] = view.getUint16(2 * (n * count + i), true);
      return found;
    };
    const node = column(0), created = column(1), scheduled = column(2), ready = column(3), gone = column(4);
    const colours = { pending: "#999999", starting: "#e69f00", ready: "#0072b2" };
    const canvas = box.querySelector("canvas"), slider = box.querySelector("input");
    const label = box.querySelector("output"), button = box.querySelector("button");
    const cells = run.nodes.length + 1, sizes = new Uint32Array(cells), place = new Uint32Array(count);
    for (let i = 0; i < count; i++) place[i] = sizes[Math.min(node[i], cells - 1)]++;
    const most = Math.max.apply(null, Array.from(sizes).concat([1]));
    const shown = sizes[cells - 1] ? cells : cells - 1;
    const context = canvas.getContext("2d");
    let side = 1, across = 1, size = 4, width = 0;
    function layout() {
      width = box.clientWidth || 800;
      side = Math.ceil(Math.sqrt(most));
      for (size = 10; size > 1; size--) {
        across = Math.max(1, Math.floor(width / (side * size + 6)));
        if (Math.ceil(shown / across) * (side * size + 6) <= 700) break;
      }
      across = Math.max(1, Math.floor(width / (side * size + 6)));
      canvas.width = width;
      canvas.height = Math.min(Math.ceil(shown / across) * (side * size + 6) + 6, 8000);
      draw();
    }
    function draw() {
      const at = Math.round(slider.value / 1000 * 65534), cell = side * size + 6;
      const style = getComputedStyle(box);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.strokeStyle = style.color;
      context.globalAlpha = 0.25;
      for (let n = 0; n < shown; n++) {
        context.strokeRect((n % across) * cell + 2.5, Math.floor(n / across) * cell + 2.5, side * size + 2, side * size + 2);
      }
      context.globalAlpha = 1;
      const totals = { pending: 0, starting: 0, ready: 0 };
      const groups = { pending: [], starting: [], ready: [] };
      for (let i = 0; i < count; i++) {
        if (created[i] > at || gone[i] <= at) continue;
        const state = ready[i] <= at ? "ready" : scheduled[i] <= at ? "starting" : "pending";
        totals[state]++;
        groups[state].push(i);
      }
      for (const state in groups) {
        context.fillStyle = colours[state];
        for (const i of groups[state]) {
          const n = Math.min(node[i], cells - 1);
          const x = (n % across) * cell + 4 + (place[i] % side) * size;
          const y = Math.floor(n / across) * cell + 4 + Math.floor(place[i] / side) * size;
          context.fillRect(x, y, Math.max(size - 1, 1), Math.max(size - 1, 1));
        }
      }
      const every = run.every > 1 ? " (each square stands for " + run.every + " pods)" : "";
      label.textContent = (slider.value / 1000 * run.seconds).toFixed(1) + " s: " + totals.ready * run.every + " ready, " +
        totals.starting * run.every + " starting, " + totals.pending * run.every + " pending" + every;
    }
    canvas.addEventListener("mousemove", function (event) {
      const cell = side * size + 6;
      const n = Math.floor(event.offsetY / cell) * across + Math.floor(event.offsetX / cell);
      canvas.title = n < run.nodes.length ? run.nodes[n] : n < shown ? "no node" : "";
    });
    let playing = null;
    function stop() { if (playing) clearInterval(playing); playing = null; button.textContent = "play"; }
    button.addEventListener("click", function () {
      if (playing) { stop(); return; }
      if (+slider.value >= 1000) slider.value = 0;
      button.textContent = "pause";
      playing = setInterval(function () {
        slider.value = +slider.value + 5;
        draw();
        if (+slider.value >= 1000) stop();
      }, 50);
    });
    slider.addEventListener("input", draw);
    window.addEventListener("resize", layout);
    layout();
  });
})();
