// What all drawings share: crisp canvases, colours of the theme, numbers, the shapes of the world.

const darkTheme = matchMedia("(prefers-color-scheme: dark)");
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

function themeColors(episode) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    paper: color("paper"), panel: color("panel"), ink: color("ink"), muted: color("muted"), faint: color("faint"), bar: color("bar"),
    ...episode.palette[darkTheme.matches ? "dark" : "light"],
  };
}

// Black or white, whichever is read better on `#rrggbb`.
function textOn(hex) {
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
  return 0.2126 * red ** 2.2 + 0.7152 * green ** 2.2 + 0.0722 * blue ** 2.2 > 0.28 ? "#15181c" : "#ffffff";
}

// Width and height as laid out; the client sizes of an element are rounded.
const sizeOf = (element) => element.getBoundingClientRect();

// Gives a canvas one pixel for each pixel of the screen; returns its context in CSS pixels.
function fit(canvas, width = sizeOf(canvas).width, height = sizeOf(canvas).height) {
  const ratio = window.devicePixelRatio || 1;
  const [columns, rows] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

function write(context, text, x, y, { color, size = 10.5, weight = 400, align = "left", base = "alphabetic" }) {
  context.font = `${weight} ${size}px ${FONT}`;
  context.textAlign = align;
  context.textBaseline = base;
  context.fillStyle = color;
  context.fillText(text, x, y);
}

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

// Round values that divide a range into about `count` parts.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) values.push(Math.abs(value) < step / 2 ? 0 : value);
  return values;
}

function drawResource(context, kind, x, y, size, [dark, lit]) {
  const point = (u, v) => [x + u * size, y + v * size];
  const polygon = (color, ...points) => {
    context.fillStyle = color;
    context.beginPath();
    points.forEach(([u, v], i) => (i ? context.lineTo(...point(u, v)) : context.moveTo(...point(u, v))));
    context.fill();
  };
  if (kind === 0) { // a stone
    polygon(dark, [0.16, 0.72], [0.22, 0.42], [0.46, 0.24], [0.74, 0.34], [0.86, 0.62], [0.76, 0.8], [0.28, 0.8]);
    polygon(lit, [0.22, 0.42], [0.46, 0.24], [0.74, 0.34], [0.52, 0.48]);
  } else { // a tree
    polygon(dark, [0.45, 0.7], [0.55, 0.7], [0.55, 0.9], [0.45, 0.9]);
    polygon(dark, [0.5, 0.34], [0.84, 0.76], [0.16, 0.76]);
    polygon(lit, [0.5, 0.1], [0.74, 0.48], [0.26, 0.48]);
  }
}

function drawHouse(context, x, y, size, color, wall) {
  context.fillStyle = color;
  context.beginPath();
  [[0.5, 0.1], [0.94, 0.48], [0.82, 0.48], [0.82, 0.9], [0.18, 0.9], [0.18, 0.48], [0.06, 0.48]]
    .forEach(([u, v], i) => context[i ? "lineTo" : "moveTo"](x + u * size, y + v * size));
  context.fill();
  context.fillStyle = wall;
  context.fillRect(x + 0.41 * size, y + 0.6 * size, 0.18 * size, 0.3 * size);
}

function drawWorker(context, x, y, radius, color, label, ring) {
  context.fillStyle = ring;
  context.beginPath();
  context.arc(x, y, radius * 1.16, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  if (radius >= 4.5) {
    const size = radius * (label.length > 1 ? 1.0 : 1.25);
    write(context, label, x, y + radius * 0.05, { color: textOn(color), size, weight: 700, align: "center", base: "middle" });
  }
}

// A worker's dot for tables and lists.
function makeDot(episode, worker, colors) {
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.textContent = String(worker);
  dot.style.background = colors.workers[worker];
  dot.style.color = textOn(colors.workers[worker]);
  return dot;
}
