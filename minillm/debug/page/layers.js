// Attention maps with the tokens beside them, and the gradient flow by layer.

function clip(text, n = 8) {
  const letters = [...text];
  return letters.length > n ? letters.slice(0, n - 1).join("") + "…" : text;
}

// One head: rows are queries, columns keys; `first` is the position of the first token, `width` the pixels there are.
function attentionHead(name, picture, tokens, first, width) {
  const T = tokens.length, side = Math.max(9, Math.min(20, Math.floor((width - 115) / T))), size = Math.min(12, side - 1);
  const labels = tokens.map((token) => clip(token)), longest = size * 0.62 * Math.max(...labels.map((l) => [...l].length));
  const room = 8 + Math.max(longest, size), upright = longest <= side - 2;
  const total = room + side * T, canvas = make("canvas", { role: "img", "aria-label": `Attention of ${name}` });
  paint(canvas, cellsOf(picture).map(Math.sqrt), T, T, 1);  // else all but the first rows would be pale
  Object.assign(canvas.style, { left: room + "px", top: room + "px", width: side * T + "px", height: side * T + "px" });
  const middle = (i) => room + side * (i + 0.5);
  const rows = labels.map((label, i) => makeSvg("text", { x: room - 4, y: middle(i), "text-anchor": "end",
    "dominant-baseline": "central", "font-size": size }, label));
  const columns = labels.map((label, i) => makeSvg("text", { "dominant-baseline": "central", "font-size": size,
    "text-anchor": upright ? "middle" : "start",
    transform: upright ? `translate(${middle(i)} ${room / 2})` : `translate(${middle(i)} ${room - 4}) rotate(-90)` }, label));
  const svg = makeSvg("svg", { width: total, height: total, "aria-hidden": "true" }, ...rows, ...columns);
  const mark = (query, key) => {
    rows.forEach((text, i) => text.classList.toggle("at", i === query));
    columns.forEach((text, i) => text.classList.toggle("at", i === key));
  };
  canvas.addEventListener("pointermove", (event) => {
    const [query, key] = cellAt(event, canvas);
    mark(query, key);
    const weight = show(cellsOf(picture)[query * T + key], 3);
    tell(event, `“${tokens[query]}” (${first + query}) reads “${tokens[key]}” (${first + key}): ${weight}`);
  });
  canvas.addEventListener("pointerleave", () => {
    mark(-1, -1);
    tell(null, "");
  });
  const box = make("div", { class: "head", style: `width:${total}px;height:${total}px` });
  box.append(canvas, svg);
  return make("figure", {}, make("figcaption", {}, name), box);
}

function showAttention(data) {
  const { tokens, first, note, layers } = data.attention;
  $("attention-note").textContent = note;
  const most = innerWidth < 1100 ? 2 : 4;  // heads beside each other
  $("heads").replaceChildren(...layers.map(({ name, heads }) => make("div", { class: "heads" }, ...heads.map((id, head) =>
    attentionHead(`${name}, head ${head}`, data.pictures[id], tokens, first, (innerWidth - 50) / Math.min(most, heads.length))))));
}

function showFlow(flow) {
  const sizes = flow.flatMap((row) => [row.output, row.parameters]).filter((x) => typeof x === "number" && x > 0);
  const low = Math.floor(Math.log10(Math.min(1, ...sizes)) - 0.001), high = Math.ceil(Math.log10(Math.max(...sizes, 10 ** (low + 1))));
  const share = (x) => (100 * (Math.log10(x) - low)) / (high - low);
  const ticks = make("div", { class: "ticks" });
  const every = Math.ceil((high - low) / 8);
  for (let e = low; e <= high; e += every) {
    ticks.append(make("span", { style: `left:${(100 * (e - low)) / (high - low)}%` }, show(10 ** e, 1)));
  }
  const bar = (kind, x) => {
    if (typeof x === "number" && x <= 0) return [];
    if (typeof x !== "number") return x === null ? [] : [make("div", { class: `bar ${kind} nonfinite`, style: "width:100%" })];
    return [make("div", { class: `bar ${kind}`, style: `width:${share(x)}%` })];
  };
  const rows = flow.flatMap(({ path, output, parameters }) => [
    make("span", { class: "path" }, path),
    make("div", { class: "track", style: `--decade:${100 / (high - low)}%` }, ...bar("output", output), ...bar("parameters", parameters)),
    make("span", { class: "n" }, `${show(output, 3)} · ${show(parameters, 3)}`),
  ]);
  $("bars").replaceChildren(...rows, make("span"), ticks, make("span"));
}
