// What the hands say: keys, drag and gamepad as an action in the dataset's own units.

const PLANAR_KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
  a: [-1, 0], d: [1, 0], w: [0, 1], s: [0, -1],
};
const OTHER_KEYS = { q: -1, e: 1 };
const DRAG_PIXELS = 70; // as far as full strength
const DEAD_ZONE = 0.18;
const KNOB = 27; // pixels from the middle of the pad at full strength

export class Controls {
  constructor({ stage, pad, knob, others, note, notes, strength }) {
    Object.assign(this, { stage, pad, knob, others, note, notes, strength });
    this.held = new Set();
    this.drag = null;
    this.tilted = null;
    this.keyed = null;
    stage.addEventListener("pointerdown", (event) => this.grab(event));
    stage.addEventListener("pointermove", (event) => this.pull(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      stage.addEventListener(name, () => this.letGo());
    }
    pad.addEventListener("pointerdown", (event) => this.hold(event));
    pad.addEventListener("pointermove", (event) => this.tilt(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      pad.addEventListener(name, () => (this.tilted = null));
    }
    window.addEventListener("blur", () => {
      this.held.clear();
      this.letGo();
    });
  }

  // The run's numbers, and where the person put the axes the last time.
  use(run) {
    this.run = run;
    this.numbers = run.actions;
    this.memory = `foreframe-axes-${run.run}`;
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(this.memory));
    } catch { /* nothing is kept */ }
    const count = this.numbers.length;
    const fits = (axis) => axis && axis.index < count;
    this.axes = kept && fits(kept.right) && fits(kept.up) ? kept : structuredClone(run.planar);
    const planar = new Set([this.axes.right.index, this.axes.up.index]);
    this.rest = this.numbers.map(({ low, high, mean }) => (low <= 0 && high >= 0 ? 0 : mean));
    this.set = [...this.rest];
    this.others.replaceChildren();
    this.sliders = new Map();
    this.numbers.forEach((number, index) => {
      if (count > 1 && planar.has(index)) return;
      if (count === 1 && index === this.axes.right.index) return;
      this.others.append(this.slider(number, index));
    });
    this.keyed = [...this.sliders.keys()][0] ?? null;
    this.note.textContent = this.axesInWords();
    const told = this.numbers.filter(({ description }) => description);
    this.notes.replaceChildren(...told.flatMap(({ label, description }) => {
      const [term, words] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = label;
      words.textContent = description;
      return [term, words];
    }));
  }

  axesInWords() {
    const { right, up } = this.axes;
    if (!this.numbers.length) return "This model takes no actions: its futures go their own way.";
    const words = ({ index, sign }) => `${this.numbers[index].label}${sign < 0 ? ", reversed" : ""}`;
    return (
      `Left and right: ${words(right)}. ` +
      (this.numbers.length > 1 ? `Up and down: ${words(up)}. ` : "") +
      (this.run.planar_known ? "" : "The camera is not known: swap or flip until it feels right.")
    );
  }

  slider(number, index) {
    const line = document.createElement("label");
    line.className = "line";
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: number.low, max: number.high });
    input.step = "any";
    input.value = this.rest[index];
    const output = document.createElement("output");
    const name = document.createElement("span");
    name.textContent = number.label;
    const keys = this.sliders.size === 0 ? " (Q, E)" : "";
    name.textContent += keys;
    line.title = number.description;
    const say = (value) => (output.textContent = value.toPrecision(2));
    input.addEventListener("input", () => {
      this.set[index] = Number(input.value);
      say(this.set[index]);
    });
    say(this.set[index]);
    line.append(name, input, output);
    // What the hands give shows in the slider, which goes back when they let go.
    const follow = (value) => {
      if (Number(input.value) === value) return;
      input.value = value;
      say(value);
    };
    this.sliders.set(index, { input, follow });
    return line;
  }

  changeAxes(change) {
    if (!this.run || !this.numbers.length) return;
    change(this.axes);
    try {
      localStorage.setItem(this.memory, JSON.stringify(this.axes));
    } catch { /* not kept, then */ }
    this.use(this.run);
  }

  // Whether the key was one of these.
  key(event, down) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!(key in PLANAR_KEYS) && !(key in OTHER_KEYS)) return false;
    if (down) this.held.add(key);
    else this.held.delete(key);
    return true;
  }

  // The knob is dragged: its way from the middle of the pad is the direction.
  hold(event) {
    if (event.button > 0) return;
    this.pad.setPointerCapture(event.pointerId);
    this.tilted = { right: 0, up: 0 };
    this.tilt(event);
  }

  tilt(event) {
    if (!this.tilted) return;
    const box = this.pad.getBoundingClientRect();
    const right = (event.clientX - box.left - box.width / 2) / (box.width / 2);
    const up = (box.top + box.height / 2 - event.clientY) / (box.height / 2);
    const size = Math.max(1, Math.hypot(right, up));
    this.tilted = { right: right / size, up: up / size };
  }

  grab(event) {
    if (event.button > 0) return;
    this.stage.setPointerCapture(event.pointerId);
    this.stage.classList.add("steering");
    this.drag = { x: event.clientX, y: event.clientY, right: 0, up: 0 };
  }

  pull(event) {
    if (!this.drag) return;
    const right = (event.clientX - this.drag.x) / DRAG_PIXELS;
    const up = (this.drag.y - event.clientY) / DRAG_PIXELS;
    const size = Math.max(1, Math.hypot(right, up));
    Object.assign(this.drag, { right: right / size, up: up / size });
  }

  letGo() {
    this.drag = null;
    this.stage.classList.remove("steering");
  }

  gamepad() {
    const pad = navigator.getGamepads?.().find((one) => one?.connected);
    if (!pad) return null;
    const beyond = (value) => (Math.abs(value ?? 0) < DEAD_ZONE ? 0 : value);
    return { right: beyond(pad.axes[0]), up: -beyond(pad.axes[1]), other: beyond(pad.axes[2]) };
  }

  // The present direction on the screen, -1..1 each.
  direction() {
    let [right, up, other] = [0, 0, 0];
    for (const key of this.held) {
      const [by, byUp] = PLANAR_KEYS[key] ?? [0, 0];
      right += by;
      up += byUp;
      other += OTHER_KEYS[key] ?? 0;
    }
    for (const pulled of [this.drag, this.tilted]) {
      if (!pulled) continue;
      right += pulled.right;
      up += pulled.up;
    }
    const pad = this.gamepad();
    if (pad) {
      right += pad.right;
      up += pad.up;
      other += pad.other;
    }
    const bound = (value) => Math.max(-1, Math.min(1, value));
    return { right: bound(right), up: bound(up), other: bound(other) };
  }

  get steering() {
    const { right, up, other } = this.direction();
    return right !== 0 || up !== 0 || other !== 0;
  }

  // The action [A] that the hands give now; null for a model without actions.
  action() {
    if (!this.numbers?.length) return null;
    const action = [...this.set];
    const { right, up, other } = this.direction();
    const push = ({ index, sign }, share) => {
      const { low, high, deviation } = this.numbers[index];
      const pushed = this.rest[index] + sign * share * this.strength() * deviation;
      action[index] = Math.max(low, Math.min(high, pushed));
    };
    push(this.axes.right, right);
    if (this.axes.up.index !== this.axes.right.index) push(this.axes.up, up);
    if (this.keyed !== null && other) {
      const { low, high } = this.numbers[this.keyed];
      action[this.keyed] = other > 0 ? high * other : -low * other;
    }
    return action;
  }

  draw() {
    const { right, up } = this.direction();
    this.knob.style.transform = `translate(${(KNOB * right).toFixed(1)}px, ${(-KNOB * up).toFixed(1)}px)`;
    const action = this.action();
    if (action) for (const [index, { follow }] of this.sliders) follow(action[index]);
  }
}
