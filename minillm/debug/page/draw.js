// Arrays as heat maps and histograms. A picture is {shape, dtype, rows, columns, scale, cells, ...}: `cells` holds
// float16 numbers, base64, which times `scale` are the values; NaN where a cell has a number that is not finite.

const $ = (id) => document.getElementById(id);

// An element with attributes and children; text is only ever set as text, never as markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const SVG = $("edges").namespaceURI;
function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Four digits; numbers that JSON cannot hold come as text.
function show(x, digits = 4) {
  if (typeof x !== "number") return x ?? "none";
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  const size = Math.abs(x);
  return size < 1e-3 || size >= 1e5 ? x.toExponential(digits - 1).replace("e+", "e") : String(Number(x.toPrecision(digits)));
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

// The numbers of a picture's cells, row by row.
function cellsOf(picture) {
  if (!picture.numbers) {
    const bytes = atob(picture.cells), n = picture.rows * picture.columns;
    picture.numbers = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      picture.numbers[i] = half(bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8)) * picture.scale;
    }
  }
  return picture.numbers;
}

// Red, green and blue of the colours that the style sheet gives, for light or dark.
let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["negative", "zero", "positive", "nonfinite", "accent", "line", "soft"]) {
    const text = style.getPropertyValue("--" + name).trim();
    colours[name] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  }
}

// Diverging around 0: blue below, red above, full at +-limit; what is not finite has its own colour.
function colour(value, limit) {
  if (!Number.isFinite(value)) return colours.nonfinite;
  const end = value < 0 ? colours.negative : colours.positive, t = limit ? Math.min(1, Math.abs(value) / limit) : 0;
  return end.map((full, i) => Math.round(colours.zero[i] + t * (full - colours.zero[i])));
}

// One pixel for each cell; the browser enlarges it.
function paint(canvas, numbers, rows, columns, limit) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    image.data.set(colour(numbers[i], limit), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// The cell under the mouse: [row, column].
function cellAt(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const place = (at, size, n) => Math.max(0, Math.min(n - 1, Math.floor((at / size) * n)));
  return [place(event.clientY - box.top, box.height, canvas.height), place(event.clientX - box.left, box.width, canvas.width)];
}

// "[3]" or "[3..5]": what of an axis of `size` lies in part i of n.
function part(i, n, size) {
  const first = Math.floor((i * size) / n), last = Math.floor(((i + 1) * size) / n) - 1;
  return first >= last ? String(first) : first + ".." + last;
}

// Where in the array a cell is: its axes but the last are folded into the rows.
function indexOf(picture, row, column) {
  const shape = picture.shape;
  if (!shape.length) return "[]";
  const height = shape.slice(0, -1).reduce((a, b) => a * b, 1), last = part(column, picture.columns, shape.at(-1));
  if (height !== picture.rows) return shape.length === 1 ? `[${last}]` : `[row ${part(row, picture.rows, height)}, ${last}]`;
  const index = [];
  for (let axis = shape.length - 2, rest = row; axis >= 0; axis--) {
    index.unshift(rest % shape[axis]);
    rest = Math.floor(rest / shape[axis]);
  }
  return `[${[...index, last].join(", ")}]`;
}

// What the mouse points at, beside it.
function tell(event, text) {
  const tip = $("tip");
  tip.textContent = text;
  tip.hidden = !text;
  if (!event) return;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(innerWidth - width - 4, event.clientX + 12)) + "px";
  tip.style.top = Math.max(4, event.clientY - height - 10) + "px";
}

function limitOf(picture) {
  return Math.max(Math.abs(picture.low), Math.abs(picture.high));
}

function heatMap(picture) {
  const numbers = cellsOf(picture), limit = limitOf(picture), canvas = make("canvas");
  const text = `${picture.shape.join(" by ") || "one number"}, from ${show(picture.min)} to ${show(picture.max)}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Heat map: " + text);
  paint(canvas, numbers, picture.rows, picture.columns, limit);
  canvas.style.height = Math.max(16, Math.min(190, (picture.rows * 240) / picture.columns, picture.rows * 9)) + "px";
  canvas.style.maxWidth = Math.max(48, picture.columns * 24) + "px";
  canvas.addEventListener("pointermove", (event) => {
    const [row, column] = cellAt(event, canvas), value = numbers[row * picture.columns + column];
    const number = Number.isNaN(value) ? "not finite" : show(value, 3) + (picture.whole ? "" : ", the largest here");
    tell(event, `${indexOf(picture, row, column)} = ${number}`);
  });
  canvas.addEventListener("pointerleave", () => tell(null, ""));
  const scale = make("canvas", { "aria-hidden": "true" });
  paint(scale, Array.from({ length: 201 }, (_, i) => (i - 100) / 100), 1, 201, 1);
  return [make("div", { class: "map" }, canvas), make("div", { class: "scale" }, scale, make("span", {}, show(-limit, 3)), make("span", {}, "0"),
    make("span", {}, show(limit, 3)))];
}

function histogram(picture) {
  const most = Math.max(...picture.bins), n = picture.bins.length;
  const svg = makeSvg("svg", { class: "bins", viewBox: `0 0 ${n} 34`, preserveAspectRatio: "none", role: "img",
    "aria-label": `Histogram from ${show(picture.low, 3)} to ${show(picture.high, 3)}` });
  picture.bins.forEach((count, i) => {
    const tall = count ? Math.max(1, (33 * count) / most) : 0, end = (j) => picture.low + (j / n) * (picture.high - picture.low);
    const kind = end(i + 1) < 0 ? "negative" : end(i) > 0 ? "positive" : "soft";  // soft: 0 lies in it
    svg.append(makeSvg("rect", { x: i + 0.08, width: 0.84, y: 34 - tall, height: tall, fill: `var(--${kind})` }));
  });
  return [svg, make("div", { class: "ends" }, make("span", {}, show(picture.low, 3)), make("span", {}, show(most) + " most"),
    make("span", {}, show(picture.high, 3)))];
}

function facts(picture) {
  const list = make("dl", { class: "facts" });
  const add = (name, value, kind = "") => {
    list.append(make("div", { class: kind }, make("dt", {}, name), make("dd", {}, show(value))));
  };
  const many = /int|bool/.test(picture.dtype) ? ["min", "max"] : ["norm", "mean", "std", "min", "max"];
  if (picture.rows * picture.columns > 1) for (const name of many) add(name, picture[name]);
  else if (Number.isFinite(picture.min)) add("value", picture.min);
  if (picture.nan) add("NaN", picture.nan, "bad");
  if (picture.inf) add("inf", picture.inf, "bad");
  return list;
}

// Everything about one array.
function card(name, picture) {
  const shape = `(${picture.shape.join(", ")}${picture.shape.length === 1 ? "," : ""}) ${picture.dtype}`;
  const element = make("div", { class: "card", "data-name": name },
    make("p", { class: "name" }, make("b", {}, name), make("span", {}, shape)));
  if (picture.rows * picture.columns > 1) element.append(...heatMap(picture), ...histogram(picture));
  element.append(facts(picture));
  return element;
}
