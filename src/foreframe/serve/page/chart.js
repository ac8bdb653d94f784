// Line charts as SVG: values over steps, with ticks that one can read.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 360;
const HEIGHT = 170;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;

export function element(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

export function ticks(low, high, about = 4) {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw);
  const values = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9 * span; at += step) values.push(at);
  return values;
}

export function written(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e4 || size < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}

// series: [{name, values: [[x, y], ...], colour: a CSS colour}]; wide: pixels of the room there is.
export function chart(series, { width = WIDTH, height = HEIGHT, x = "", label = "" } = {}) {
  const points = series.flatMap((one) => one.values).filter(([, y]) => Number.isFinite(y));
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  if (!points.length) return svg;
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const right = (value) => LEFT + ((value - first) / (last - first || 1)) * (width - LEFT - RIGHT);
  const down = (value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM);
  for (const tick of ticks(low, high)) {
    svg.append(element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: down(tick), y2: down(tick) }));
    svg.append(element("text", { x: LEFT - 6, y: down(tick) + 4, "text-anchor": "end" }, written(tick)));
  }
  for (const tick of ticks(first, last, 5).filter(Number.isInteger)) {
    svg.append(element("text", { x: right(tick), y: height - 6, "text-anchor": "middle" }, String(tick)));
  }
  if (x) svg.append(element("text", { x: LEFT + 2, y: TOP + 9 }, x));
  for (const { values, colour } of series) {
    const kept = values.filter(([, y]) => Number.isFinite(y));
    const d = kept.map(([at, y], i) => `${i ? "L" : "M"}${right(at).toFixed(1)} ${down(y).toFixed(1)}`);
    const line = element("path", { d: d.join("") });
    line.style.stroke = colour;
    svg.append(line);
    if (kept.length) {
      const [at, y] = kept[kept.length - 1];
      const dot = element("circle", { cx: right(at), cy: down(y), r: 2.8 });
      dot.style.fill = colour;
      svg.append(dot);
    }
  }
  return svg;
}

export function legend(series) {
  const list = document.createElement("div");
  list.className = "legend";
  for (const { name, values, colour } of series) {
    const entry = document.createElement("span");
    const mark = document.createElement("i");
    mark.style.background = colour;
    const last = values.findLast?.(([, y]) => Number.isFinite(y));
    entry.append(mark, `${name}${last ? ` ${written(last[1])}` : ""}`);
    list.append(entry);
  }
  return list;
}
