"use strict";

/* Colours: as the system has them, or dark, or light. */
const root = document.documentElement;
const themes = ["automatic", "dark", "light"];
let theme = 0;
const redraw = [];

document.getElementById("theme").addEventListener("click", (event) => {
  theme = (theme + 1) % themes.length;
  if (theme) root.dataset.theme = themes[theme];
  else delete root.dataset.theme;
  event.target.textContent = "Colours: " + themes[theme];
  redraw.forEach((draw) => draw());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  redraw.forEach((draw) => draw());
});

const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const short = (value) => String(Number(value.toPrecision(4)));

/* Line charts: values under the pointer, or by the left and right arrow keys. */
function readable(chart) {
  const { x: [low, high, start, end], label, lines } = JSON.parse(chart.dataset.lines);
  const told = chart.parentNode.querySelector(".read");
  const places = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))];
  places.sort((a, b) => a - b);
  if (!places.length) return;
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", 12);
  cursor.setAttribute("y2", 210);
  let at = -1;

  function show(index) {
    at = Math.max(0, Math.min(index, places.length - 1));
    const x = places[at];
    const place = start + (x - low) / (high - low) * (end - start);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    chart.append(cursor);
    const values = lines.flatMap((line) => {
      const point = line.points.find((each) => each[0] === x);
      return point ? [line.name + " " + short(point[1])] : [];
    });
    told.textContent = label + " " + short(x) + ": " + values.join(", ");
  }

  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const wanted = low + (x - start) / (end - start) * (high - low);
    const distance = places.map((each) => Math.abs(each - wanted));
    show(distance.indexOf(Math.min(...distance)));
  });
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { show(at + step); event.preventDefault(); }
  });
}

/* Rasters: spikes and values of all layers over time, to hover and to zoom. */
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function unpacked(layer) {
  const content = bytes(layer.content);
  if (layer.kind === "values") return { shades: content };
  const both = new Uint32Array(content.buffer);
  const count = both.length / 2;
  return { step: both.subarray(0, count), unit: both.subarray(count) };
}

function raster(holder) {
  const found = JSON.parse(holder.querySelector("script").textContent);
  const canvas = holder.querySelector("canvas");
  const told = holder.querySelector(".read");
  const context = canvas.getContext("2d");
  const layers = found.layers.map((layer) => ({ ...layer, ...unpacked(layer) }));
  const all = Math.max(...layers.map((layer) => layer.steps));
  const left = 12, head = 18, foot = 22;
  let from = 0, to = all, tall = 1;

  const heightOf = (layer) => {
    const most = layer === layers[layers.length - 1] ? layer.units * 6 : layer.units * 2;
    return Math.max(40, Math.min(most, 130)) * tall;
  };

  function draw() {
    const width = canvas.clientWidth || 600;
    const height = layers.reduce((sum, layer) => sum + heightOf(layer) + head, foot);
    const scale = window.devicePixelRatio || 1;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.font = "12px system-ui, sans-serif";
    let top = 0;
    for (const layer of layers) {
      layer.top = top + head;
      context.fillStyle = colour("--ink");
      context.fillText(layer.title + ", " + layer.units + " units", left, top + 13);
      if (layer === layers[layers.length - 1]) drawMarks(layer);
      context.save();
      context.beginPath();
      context.rect(left, layer.top, width - 2 * left, heightOf(layer));
      context.clip();
      (layer.kind === "values" ? drawValues : drawSpikes)(layer, width - 2 * left);
      context.restore();
      context.strokeStyle = colour("--rule");
      context.strokeRect(left, layer.top, width - 2 * left, heightOf(layer));
      top = layer.top + heightOf(layer);
    }
    drawTime(width - 2 * left, top);
  }

  /* Which row of the last layer is the true class, and which the answer. */
  function drawMarks(layer) {
    const marks = [[found.true, "--good", "true class"], [found.answer, "--bad", "answer"]];
    let x = left + context.measureText(layer.title + ", " + layer.units + " units").width + 16;
    const perUnit = heightOf(layer) / layer.units;
    for (const [unit, hue, name] of found.true === found.answer ? marks.slice(0, 1) : marks) {
      if (unit === null) continue;
      const y = layer.top + (unit + 0.5) * perUnit;
      context.fillStyle = colour(hue);
      context.beginPath();
      context.moveTo(left - 10, y - 5);
      context.lineTo(left - 1, y);
      context.lineTo(left - 10, y + 5);
      context.fill();
      const text = "▸ " + name + " “" + found.classes[unit] + "”";
      context.fillText(text, x, layer.top - 5);
      x += context.measureText(text).width + 12;
    }
  }

  function drawSpikes(layer, width) {
    const perStep = width / (to - from), perUnit = heightOf(layer) / layer.units;
    const wide = Math.max(Math.min(perStep * 0.7, 4), 1.2), high = Math.max(Math.min(perUnit * 0.8, 6), 1.2);
    context.fillStyle = colour("--ink");
    for (let i = 0; i < layer.step.length; i++) {
      const x = left + (layer.step[i] + 0.5 - from) * perStep;
      if (x >= left && x <= left + width) {
        context.fillRect(x - wide / 2, layer.top + layer.unit[i] * perUnit, wide, high);
      }
    }
  }

  function drawValues(layer, width) {
    context.imageSmoothingEnabled = false;
    const place = [left, layer.top, width, heightOf(layer)];
    context.drawImage(shaded(layer), from, 0, to - from, layer.units, ...place);
  }

  /* The values of a layer as an image with a pixel for each, in the colour of now. */
  function shaded(layer) {
    const hue = colour("--accent");
    if (layer.image && layer.hue === hue) return layer.image;
    layer.hue = hue;
    layer.image = document.createElement("canvas");
    layer.image.width = layer.steps;
    layer.image.height = layer.units;
    const [red, green, blue] = hue.match(/\w\w/g).map((pair) => parseInt(pair, 16));
    const pixels = new ImageData(layer.steps, layer.units);
    layer.shades.forEach((shade, i) => pixels.data.set([red, green, blue, shade], 4 * i));
    layer.image.getContext("2d").putImageData(pixels, 0, 0);
    return layer.image;
  }

  function drawTime(width, top) {
    context.fillStyle = colour("--soft");
    const span = (to - from) * found.dt;
    const size = 10 ** Math.floor(Math.log10(span / 6));
    const step = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= span / 6);
    for (let ms = Math.ceil(from * found.dt / step) * step; ms <= to * found.dt; ms += step) {
      const x = left + (ms / found.dt - from) / (to - from) * width;
      context.textAlign = x > width - 30 ? "right" : "left";
      context.fillText(short(ms) + " ms", x, top + 15);
    }
    context.textAlign = "left";
  }

  function view(start, length) {
    const span = Math.max(Math.min(length, all), Math.min(4, all));
    from = Math.max(0, Math.min(start, all - span));
    to = from + span;
    draw();
    told.textContent = "showing " + short(from * found.dt) + " to " + short(to * found.dt) + " ms";
  }

  function zoom(factor, at = (from + to) / 2) {
    view(at - (at - from) * factor, (to - from) * factor);
  }

  const act = {
    in: () => zoom(0.5), out: () => zoom(2), all: () => { tall = 1; view(0, all); },
    left: () => view(from - (to - from) / 4, to - from),
    right: () => view(from + (to - from) / 4, to - from),
    tall: () => { tall = tall >= 4 ? 1 : tall * 2; draw(); told.textContent = "layers are " + tall + " times as tall"; },
  };
  holder.querySelectorAll("button").forEach((button) => {
    button.addEventListener("click", act[button.dataset.act]);
  });
  canvas.addEventListener("keydown", (event) => {
    const keys = { "+": "in", "=": "in", "-": "out", 0: "all", ArrowLeft: "left", ArrowRight: "right", t: "tall" };
    const name = keys[event.key];
    if (name) { act[name](); event.preventDefault(); }
  });

  const stepAt = (event) => {
    const box = canvas.getBoundingClientRect();
    return from + (event.clientX - box.left - left) / (box.width - 2 * left) * (to - from);
  };
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, stepAt(event));
  }, { passive: false });

  let held = null;
  canvas.addEventListener("pointerdown", (event) => { held = stepAt(event); });
  addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (held !== null) { view(from + held - stepAt(event), to - from); return; }
    const y = event.clientY - canvas.getBoundingClientRect().top;
    const layer = layers.find((each) => y >= each.top && y < each.top + heightOf(each));
    const step = Math.floor(stepAt(event));
    if (layer && step >= 0 && step < layer.steps) told.textContent = describe(layer, step, y);
  });

  function describe(layer, step, y) {
    const unit = Math.min(Math.floor((y - layer.top) / heightOf(layer) * layer.units), layer.units - 1);
    const last = layer === layers[layers.length - 1];
    const named = last && found.classes.length ? " “" + found.classes[unit] + "”" : "";
    let what = "";
    if (layer.kind === "values") {
      const shade = layer.shades[unit * layer.steps + step] / 255;
      what = ", value about " + short(layer.low + shade * (layer.high - layer.low));
    } else {
      const near = Math.max(1, Math.round(layer.units / heightOf(layer) * 3));
      const wide = Math.max(1, Math.round((to - from) / canvas.clientWidth * 4));
      let best = null;
      for (let i = 0; i < layer.step.length; i++) {
        const away = Math.abs(layer.unit[i] - unit) / near + Math.abs(layer.step[i] - step) / wide;
        if (away <= 1 && (best === null || away < best.away)) best = { away, i };
      }
      if (best !== null) {
        const spike = best.i;
        const name = last && found.classes.length ? " “" + found.classes[layer.unit[spike]] + "”" : "";
        return layer.title + ": spike of unit " + layer.unit[spike] + name + " at " + short(layer.step[spike] * found.dt) + " ms";
      }
    }
    return layer.title + ": unit " + unit + named + ", " + short(step * found.dt) + " ms" + what;
  }

  draw();
  redraw.push(draw);
  new ResizeObserver(draw).observe(holder);
}

document.querySelectorAll("svg[data-lines]").forEach(readable);
document.querySelectorAll(".raster").forEach(raster);
