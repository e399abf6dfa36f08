// The page: tabs, the slider through the backward pass, and what there is to see at each step.

const data = JSON.parse($("data").textContent);
const TABS = ["steps", "attention", "flow"];
let current = -1, timer = 0, tab = "steps";

function sourceLines(listing, place, at) {
  $(place).replaceChildren(...listing.lines.map((spans, i) => {
    const parts = spans.map(([kind, text]) => (kind ? make("span", { class: kind }, text) : text));
    return make("span", { class: "line", "data-n": listing.first + i }, ...parts);
  }));
  $(at).textContent = listing.lines.length ? `${listing.file}:${listing.first}` : "";
}

// Formulas that share a line stand apart by blanks: only there may the line be broken.
function formulaParts(text) {
  return text.split("\n").map((line) => {
    const parts = line.split(/(?<=\S) {3,}(?=\S)/).map((part) => make("span", {}, part));
    return make("div", {}, ...parts.flatMap((part, i) => (i ? ["   ", part] : [part])), line ? "" : " ");
  });
}

function showSource(source) {
  $("summary").textContent = source.title;
  $("formula").replaceChildren(...formulaParts(source.formula));
  $("formula").hidden = !source.formula;
  sourceLines(source.backward, "backward", "backward-at");
  sourceLines(source.forward, "forward", "forward-at");
  for (const name of ["backward", "forward"]) $(name).hidden = !source[name].lines.length;
}

function showFlows(flows) {
  $("flows").tBodies[0].replaceChildren(...flows.map((flow) => {
    const target = make("td");
    if (flow.step === null) target.append(flow.target);
    else {
      const jump = make("button", { class: "jump" }, flow.target);
      jump.addEventListener("click", () => go(flow.step));
      target.append(jump);
    }
    if (flow.gradient === null) target.className = "none";
    const norms = [flow.before ?? (flow.gradient === null ? "" : "nothing"), flow.gradient ?? "", flow.after ?? ""];
    return make("tr", {}, make("td", {}, "d" + flow.input), target, ...norms.map((x) => make("td", { class: "n" }, show(x))),
      make("td", { class: "n" }, flow.difference === null ? "" : show(flow.difference, 2)));
  }));
}

function showCheck(check) {
  const words = { passed: "numeric check passed", failed: "numeric check failed", unchecked: "not checked" };
  $("check").textContent = words[check.state];
  $("check").className = "badge " + check.state;
  const parts = check.text.split(/(\S*\de-\d+)/);  // a number such as 1e-12 stays on one line
  $("check-text").replaceChildren(...parts.map((part, i) => (i % 2 ? make("span", { class: "whole" }, part) : part)));
}

function showArrays(step) {
  const sections = [
    [`Gradients: ${step.dy[0][0]} comes in, the others go out`, [...step.dy, ...step.dxs]],
    ["Saved by the forward, handed to the backward", step.saved],
    ["What the forward computed", step.value],
  ];
  $("arrays").replaceChildren(...sections.filter(([, arrays]) => arrays.length).flatMap(([title, arrays]) => [
    make("h3", {}, title),
    make("div", { class: "cards" }, ...arrays.map(([name, id]) => card(name, data.pictures[id]))),
  ]));
  if (step.others.length) {
    const values = step.others.map(([name, value]) => make("span", {}, `${name} = ${value}`));
    $("arrays").append(make("h3", {}, "Other values handed to the backward"), make("div", { class: "values" }, ...values));
  }
}

function showPlaces(step) {
  $("places").replaceChildren(...step.places.flatMap(([what, place, code]) => [
    make("dt", {}, what), make("dd", {}, place, make("code", {}, code)),
  ]));
}

function go(index) {
  const n = data.steps.length, wanted = Math.max(0, Math.min(n - 1, index));
  if (wanted === current) return;
  current = wanted;
  const step = data.steps[current], node = data.nodes[step.node];
  $("op").textContent = node.op;
  $("layer").textContent = node.layer;
  $("number").textContent = "#" + node.seq;
  $("count").textContent = `step ${current + 1} of ${n}`;
  $("slider").value = current;
  $("slider").setAttribute("aria-valuetext", `step ${current + 1} of ${n}: ${node.name}`);
  for (const id of ["first", "back"]) $(id).disabled = current === 0;
  for (const id of ["next", "last"]) $(id).disabled = current === n - 1;
  showPlaces(step);
  showSource(data.sources[step.source]);
  showFlows(step.flows);
  showCheck(step.check);
  showArrays(step);
  document.querySelector("article").scrollTop = 0;
  diagram.mark(current);
}

function play(on) {
  clearInterval(timer);
  timer = 0;
  if (on) {
    if (current === data.steps.length - 1) go(0);
    timer = setInterval(() => (current < data.steps.length - 1 ? go(current + 1) : play(false)), 900);
  }
  $("play").classList.toggle("on", on);
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

function open(name) {
  tab = name;
  for (const id of TABS) {
    $(id).hidden = id !== name;
    $("tab-" + id).setAttribute("aria-selected", id === name);
    $("tab-" + id).tabIndex = id === name ? 0 : -1;
  }
  $("controls").hidden = name !== "steps";
  if (name !== "steps") play(false);
  if (name === "attention") showAttention(data);
}

function move(step) {
  play(false);
  go(step);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.getAttribute?.("role") === "tab") {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way) {
      open(TABS[(TABS.indexOf(tab) + way + TABS.length) % TABS.length]);
      $("tab-" + tab).focus();
    }
    return;
  }
  if (tab !== "steps" || event.target.id === "slider") return;  // the slider knows these keys itself
  const last = data.steps.length - 1;
  const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: last }[event.key];
  if (to !== undefined) move(to);
  else if (event.key === " " && event.target.tagName !== "BUTTON") play(!timer);
  else return;
  event.preventDefault();
}

readColours();
$("title").textContent = data.title;
$("about").textContent = data.about;
$("slider").max = data.steps.length - 1;
const diagram = new Diagram(data.nodes, move);
for (const id of TABS) $("tab-" + id).addEventListener("click", () => open(id));
$("slider").addEventListener("input", () => move(Number($("slider").value)));
$("first").addEventListener("click", () => move(0));
$("back").addEventListener("click", () => move(current - 1));
$("next").addEventListener("click", () => move(current + 1));
$("last").addEventListener("click", () => move(data.steps.length - 1));
$("play").addEventListener("click", () => play(!timer));
document.addEventListener("keydown", onKey);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  showArrays(data.steps[current]);
  if (tab === "attention") showAttention(data);
});
showFlow(data.flow);
open("steps");
go(0);
