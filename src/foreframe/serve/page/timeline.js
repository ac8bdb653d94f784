// All moments as a tree: time to the right, a lane for each branch.

import { element } from "./chart.js";

const LANE = 16;
const EDGE = 14;

export class Timeline {
  constructor(root, chosen) {
    this.root = root;
    this.chosen = chosen;
    root.addEventListener("pointerdown", (event) => {
      this.pick(event);
      root.setPointerCapture(event.pointerId);
    });
    root.addEventListener("pointermove", (event) => {
      if (event.buttons) this.pick(event);
    });
    root.addEventListener("keydown", (event) => this.key(event));
  }

  pick(event) {
    if (!this.play) return;
    const box = this.root.getBoundingClientRect();
    const t = (event.clientX - box.left - EDGE) / this.pitch;
    const lane = (event.clientY - box.top + this.root.scrollTop - EDGE) / LANE;
    let best = null;
    let least = Infinity;
    for (const node of this.play.nodes) {
      const distance = Math.abs(node.t - t) + 4 * Math.abs(node.lane - lane);
      if (distance < least) [best, least] = [node, distance];
    }
    this.chosen(best);
  }

  key(event) {
    const { play } = this;
    if (!play) return;
    const { current, nodes } = play;
    const beside = (by) =>
      nodes
        .filter((node) => node.lane === current.lane + by)
        .sort((a, b) => Math.abs(a.t - current.t) - Math.abs(b.t - current.t))[0];
    const target = {
      ArrowLeft: () => current.parent,
      ArrowRight: () => current.children[0],
      ArrowUp: () => beside(-1),
      ArrowDown: () => beside(1),
      Home: () => nodes[0],
      End: () => {
        let at = current;
        while (at.children.length) at = at.children[0];
        return at;
      },
    }[event.key]?.();
    if (!(event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    event.stopPropagation();
    if (target) this.chosen(target);
  }

  draw(play) {
    this.play = play;
    const { nodes, current, lanes } = play;
    const width = Math.max(200, this.root.clientWidth);
    const longest = nodes.reduce((most, node) => Math.max(most, node.t), 0);
    this.pitch = (width - 2 * EDGE) / Math.max(30, longest);
    const height = 2 * EDGE + (lanes - 1) * LANE;
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    const x = (node) => (EDGE + node.t * this.pitch).toFixed(1);
    const y = (node) => EDGE + node.lane * LANE;
    const path = new Set(play.path());
    const here = { on: "", off: "" };
    for (const node of nodes) {
      if (!node.parent) continue;
      const kind = path.has(node) ? "on" : "off";
      const bend = node.lane === node.parent.lane ? "" : `L${x(node.parent)} ${y(node)}`;
      here[kind] += `M${x(node.parent)} ${y(node.parent)}${bend}L${x(node)} ${y(node)}`;
    }
    for (const [kind, d] of Object.entries(here)) {
      const line = element("path", { d, fill: "none", "stroke-width": kind === "on" ? 3 : 2 });
      line.style.stroke = kind === "on" ? "var(--imagined)" : "var(--quiet)";
      line.style.opacity = kind === "on" ? 1 : 0.45;
      svg.append(line);
    }
    const start = element("circle", { cx: x(nodes[0]), cy: y(nodes[0]), r: 5 });
    start.style.fill = "var(--given)";
    const mark = element("circle", { cx: x(current), cy: y(current), r: 6, "stroke-width": 2 });
    mark.style.fill = current.parent ? "var(--imagined)" : "var(--given)";
    mark.style.stroke = "var(--panel)";
    svg.append(start, mark);
    this.root.replaceChildren(svg);
    this.root.setAttribute("aria-valuemax", longest);
    this.root.setAttribute("aria-valuenow", current.t);
    this.root.setAttribute(
      "aria-valuetext",
      `moment ${current.t} of branch ${current.lane + 1} of ${lanes}`,
    );
  }
}
