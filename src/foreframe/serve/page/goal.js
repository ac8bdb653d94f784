// Going there: an object and a place, or a picture; what was thought of, and the plan.

import { element } from "./chart.js";

const STEP = 1 / 64; // an arrow key moves the cross so far, as a share of the picture
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ASKS = {
  thing: "Click on an object (or move the cross with the arrow keys, and press Enter).",
  place: "Now click on the place where it shall be.",
};
const BASE64_PIECE = 0x8000;

// pictures: the stage's element; changed: told that there is something else to draw; chosen: told
// an object and a place; say: told what to do now.
export class Goal {
  constructor(pictures, { changed, chosen, say }) {
    Object.assign(this, { pictures, changed, chosen, say });
    this.clear();
    // Before the hands, that would steer.
    pictures.addEventListener("pointerdown", (event) => this.click(event), true);
  }

  clear() {
    this.picking = null;
    this.thing = this.place = this.cursor = this.found = this.picture = null;
    this.pictures.classList.remove("picking");
  }

  pick() {
    this.clear();
    this.picking = "thing";
    this.cursor = [0.5, 0.5];
    this.pictures.classList.add("picking");
    this.say(ASKS.thing);
    this.changed();
  }

  click(event) {
    const canvas = event.target.closest("canvas");
    if (!this.picking || !canvas) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    const share = (at, from, size, edge) => Math.min(1, Math.max(0, (at - from - edge) / (size - 2 * edge)));
    this.choose([
      share(event.clientX, box.left, box.width, canvas.clientLeft),
      share(event.clientY, box.top, box.height, canvas.clientTop),
    ]);
  }

  // Whether the key was one of these.
  key(event) {
    if (!this.picking) return false;
    if (event.key === "Escape") {
      this.clear();
      this.say("");
      this.changed();
    } else if (event.key === "Enter") {
      this.choose(this.cursor);
    } else if (KEYS[event.key]) {
      const by = KEYS[event.key];
      this.cursor = this.cursor.map((at, i) => Math.min(1, Math.max(0, at + STEP * by[i])));
      this.changed();
    } else {
      return false;
    }
    return true;
  }

  choose(point) {
    this[this.picking] = point;
    this.cursor = point;
    if (this.picking === "thing") {
      this.picking = "place";
      this.say(ASKS.place);
    } else {
      this.picking = this.cursor = null;
      this.pictures.classList.remove("picking");
      this.chosen({ thing: this.thing, goal: this.place });
    }
    this.changed();
  }

  // What the service found: see PlanOut.
  show(found, from) {
    this.found = { ...found, from, pixels: decoded(found.frames) };
    this.changed();
  }

  // Where the object should be when the plan has been carried out.
  get end() {
    return this.found?.paths[0]?.at(-1) ?? this.thing;
  }

  // The pictures of all that was thought of, each faint over the others.
  ghosts() {
    if (!this.found) return null;
    const { pixels, shape } = this.found;
    const size = pixels.length / shape[0];
    const mixed = new Float32Array(size);
    for (let i = 0; i < pixels.length; i++) mixed[i % size] += pixels[i];
    return Uint8Array.from(mixed, (sum) => sum / shape[0]);
  }

  // Marks over a picture of 100 x 100: the candidates' paths, the plan's, object and place.
  marks() {
    const list = [];
    const at = ([x, y]) => `${(100 * x).toFixed(2)} ${(100 * y).toFixed(2)}`;
    const paths = this.found?.paths ?? [];
    paths.slice(1).forEach((path) => list.push(line(`M${path.map(at).join("L")}`, "ghost")));
    if (paths.length) list.push(line(`M${paths[0].map(at).join("L")}`, "plan"));
    if (this.thing) {
      const [x, y] = this.thing;
      list.push(element("circle", { cx: 100 * x, cy: 100 * y, r: 5, class: "thing" }));
    }
    if (this.place) list.push(line(cross(this.place, 4), "place"));
    if (this.cursor) list.push(line(cross(this.cursor, 6), "cursor"));
    return list;
  }
}

const line = (d, kind) => element("path", { d, class: kind });

function cross([x, y], size) {
  const [at, to] = [100 * x, 100 * y];
  return `M${at - size} ${to}H${at + size}M${at} ${to - size}V${to + size}`;
}

const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export function encoded(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += BASE64_PIECE) {
    text += String.fromCharCode(...bytes.subarray(i, i + BASE64_PIECE));
  }
  return btoa(text);
}
