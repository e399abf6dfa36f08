// The model: a box for each node of the tape, in forward order, and a line for each value that one hands to another.
// Lines to the next box are straight; the others, such as the residual stream, go round the boxes they pass.

const LANE = 11;  // pixels from one line that goes round to the next

class Diagram {
  constructor(nodes, go) {
    this.nodes = nodes;
    this.boxes = nodes.map((node) => this.box(node, go));
    const place = $("boxes");
    let group = null;
    nodes.forEach((node, i) => {
      if (!group || group.name !== node.group) {
        const element = make("div", { class: node.group ? "group" : "loose" });
        if (node.group) element.append(make("span", {}, node.group));
        place.append(element);
        group = { name: node.group, element };
      }
      group.element.append(this.boxes[i]);
    });
    this.edges = nodes.flatMap((node, to) => node.parents.map((from) => ({ from, to, lane: 0 })));
    const lanes = this.assignLanes();
    this.left = 14 + LANE * lanes;
    place.style.marginLeft = this.left + "px";
    this.step = 0;
    new ResizeObserver(() => this.draw()).observe(place);
  }

  box(node, go) {
    const name = node.label || node.op, button = make("button", { class: "box", title: node.name }, make("b", {}, name));
    if (node.label) button.append(make("i", {}, node.op));
    button.setAttribute("aria-label", node.step === null ? node.name + ", not reached by backward" : node.name);
    button.disabled = node.step === null;
    button.addEventListener("click", () => go(node.step));
    return button;
  }

  // Give each line that passes a box the innermost lane that is free along all of its way.
  assignLanes() {
    const taken = [];
    const long = this.edges.filter((edge) => edge.to > edge.from + 1).sort((a, b) => a.to - a.from - (b.to - b.from));
    for (const edge of long) {
      const free = (lane) => !lane.some((other) => other.from < edge.to && edge.from < other.to);
      let place = taken.findIndex(free);
      if (place < 0) place = taken.push([]) - 1;
      taken[place].push(edge);
      edge.lane = place + 1;
    }
    return taken.length;
  }

  // Mark which gradients have flowed when the pass stands at `step`.
  mark(step) {
    this.step = step;
    this.nodes.forEach((node, i) => {
      const box = this.boxes[i];
      box.classList.toggle("done", node.step !== null && node.step < step);
      box.classList.toggle("now", node.step === step);
      if (node.step === step) {
        box.setAttribute("aria-current", "step");
        const nav = $("diagram"), at = box.getBoundingClientRect(), view = nav.getBoundingClientRect();
        if (at.top < view.top + 40 || at.bottom > view.bottom - 40) nav.scrollTop += at.top - view.top - view.height / 2;
      } else {
        box.removeAttribute("aria-current");
      }
    });
    this.draw();
  }

  state(node) {
    return node.step === null || node.step > this.step ? "" : node.step === this.step ? "now" : "done";
  }

  draw() {
    const svg = $("edges"), top = svg.getBoundingClientRect().top, x = this.left - 7;
    const y = this.boxes.map((box) => {
      const at = box.getBoundingClientRect();
      return at.top + at.height / 2 - top;
    });
    const lines = this.edges.map(({ from, to, lane }) => {
      const out = x - LANE * lane, bend = Math.min(9, (y[to] - y[from]) / 2);
      const way = lane
        ? `M${x} ${y[from]}C${out} ${y[from]} ${out} ${y[from] + bend} ${out} ${y[from] + 2 * bend}` +
          `V${y[to] - 2 * bend}C${out} ${y[to] - bend} ${out} ${y[to]} ${x} ${y[to]}`
        : `M${x} ${y[from]}V${y[to]}`;
      return makeSvg("path", { d: way, class: this.state(this.nodes[to]) });
    });
    lines.sort((a, b) => (a.classList.contains("now") ? 1 : 0) - (b.classList.contains("now") ? 1 : 0));
    const dots = this.nodes.map((node, i) => makeSvg("circle", { cx: x, cy: y[i], r: 3.2, class: this.state(node) }));
    svg.replaceChildren(...lines, ...dots);
  }
}
