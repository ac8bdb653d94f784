// The model in a worker: sessions are trees of moments, as the service has them.

import * as ort from "./vendor/ort.wasm.min.mjs";

const STATES_KEPT = 400; // moments that can be gone back to at once; others are imagined again
const sessions = new Map();
let count = 0;
let loading = null;

async function unpacked(path) {
  const answer = await fetch(new URL(path, import.meta.url));
  if (!answer.ok) throw new Error(`${path} cannot be read.`);
  const stream = answer.body.pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function load() {
  const base = new URL(".", import.meta.url);
  // Threads need a page that is isolated from others, which a plain host does not make it.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  ort.env.wasm.wasmPaths = { mjs: new URL("./vendor/ort-wasm-simd-threaded.mjs", base).href };
  const [wasm, described] = await Promise.all([
    unpacked("./vendor/ort-wasm-simd-threaded.wasm.gz"),
    fetch(new URL("./model/model.json", base)).then((answer) => answer.json()),
  ]);
  ort.env.wasm.wasmBinary = wasm;
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const graph = async ({ file }) =>
    ort.InferenceSession.create(new Uint8Array(await unpacked(`./model/${file}.gz`)), options);
  const [begin, step] = await Promise.all([graph(described.begin), graph(described.step)]);
  return { described, begin, step };
}

const loaded = () => (loading ??= load());

// Numbers from N(0, I) that are a function of the seed and of t (mulberry32, Box and Muller).
function noise(length, ...keys) {
  let state = 0x9e3779b9;
  for (const key of keys) state = Math.imul(state ^ (key + 0x85ebca6b), 0xc2b2ae35) ^ (state >>> 15);
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
  const drawn = new Float32Array(length);
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < length) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

const tensor = (values, shape) => new ort.Tensor("float32", Float32Array.from(values), shape);

// uint8 [T, H, W, 3] as float [1, T, 3, H, W] in [0, 1].
function planes(pixels, frames, height, width) {
  const [area, made] = [height * width, new Float32Array(pixels.length)];
  for (let t = 0; t < frames; t++) {
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) made[(t * 3 + c) * area + i] = pixels[(t * area + i) * 3 + c] / 255;
    }
  }
  return new ort.Tensor("float32", made, [1, frames, 3, height, width]);
}

// float [K, 3, H, W] as uint8 [K, H, W, 3].
function pictures(frames) {
  const [samples, , height, width] = frames.dims;
  const [area, data, made] = [height * width, frames.data, new Uint8ClampedArray(frames.data.length)];
  for (let k = 0; k < samples; k++) {
    for (let c = 0; c < 3; c++) {
      const from = (k * 3 + c) * area;
      for (let i = 0; i < area; i++) made[(k * area + i) * 3 + c] = 255 * data[from + i];
    }
  }
  return new Uint8Array(made.buffer);
}

async function begun(session) {
  const { described, begin } = await loaded();
  const [height, width] = described.frame_size;
  const { samples, seed } = session;
  const fed = {};
  for (const { name, shape } of described.begin.inputs) {
    if (name === "frames") fed[name] = planes(session.given, described.n_past, height, width);
    else if (name === "noise") {
      // The same for a future however many others there are.
      const each = shape[1] * shape[2];
      const drawn = new Float32Array(samples * each);
      for (let k = 0; k < samples; k++) drawn.set(noise(each, seed, 0, k), k * each);
      fed[name] = new ort.Tensor("float32", drawn, [samples, shape[1], shape[2]]);
    } else fed[name] = tensor(session[name].slice(0, shape[1]).flat(), shape);
  }
  return begin.run(fed);
}

// The next position, by the run's kinematics: [position, action, 1] @ matrix.
function rolled(described, position, action) {
  if (!described.kinematics || !position) return position;
  const row = [...position, ...action, 1];
  return position.map((_, j) => row.reduce((sum, x, i) => sum + x * described.kinematics.matrix[i][j], 0));
}

async function stepped(session, before, { action, position, fixed }) {
  const { described, step } = await loaded();
  const t = before.t + 1;
  const here = position ?? before.next;
  const fed = {};
  for (const { name, shape } of described.step.inputs) {
    if (name === "action") fed[name] = tensor(action, shape);
    else if (name === "position") fed[name] = tensor(here, shape);
    else if (name === "noise") {
      const drawn = new Float32Array(session.samples * shape[1]);
      for (let k = 0; k < session.samples; k++) drawn.set(noise(shape[1], session.seed, fixed ? -1 : t, k), k * shape[1]);
      fed[name] = new ort.Tensor("float32", drawn, [session.samples, shape[1]]);
    } else fed[name] = before.state[name];
  }
  const made = await step.run(fed);
  const state = { ...before.state };
  for (const { name, changes } of described.state) if (changes) state[name] = made[`${name}.next`];
  return { frames: made.frames, after: { t, state, next: rolled(described, here, action) } };
}

// A moment that was forgotten is imagined again from the one before it.
async function known(session, number) {
  const moment = session.moments.get(number);
  if (moment.state) return moment;
  const before = await known(session, moment.parent);
  const { after } = await stepped(session, before, moment.how);
  moment.state = after.state;
  return moment;
}

const answers = {
  async load() {
    await loaded();
    return {};
  },

  async begin({ given, actions, positions, samples, seed, position }) {
    const session = { given, actions, positions, samples, seed, moments: new Map(), kept: [] };
    session.moments.set(0, { parent: null, t: 0, state: await begun(session), next: position });
    const name = String(++count);
    sessions.set(name, session);
    return { session: name };
  },

  async step({ session: name, from, ...how }) {
    const began = performance.now();
    const session = sessions.get(name);
    const before = await known(session, from);
    const { frames, after } = await stepped(session, before, how);
    const node = session.moments.size;
    session.moments.set(node, { ...after, parent: from, how });
    session.kept.push(node);
    if (session.kept.length > STATES_KEPT) session.moments.get(session.kept.shift()).state = null;
    const [samples, , height, width] = frames.dims;
    const micros = Math.round(1000 * (performance.now() - began));
    return { node, t: after.t, samples, height, width, micros, pixels: pictures(frames), beside: null };
  },

  async end({ session }) {
    sessions.delete(session);
    return {};
  },
};

// One after another: the runtime runs one thing at a time.
let busy = Promise.resolve();
self.onmessage = ({ data: { id, kind, ...what } }) => {
  busy = busy.then(async () => {
    try {
      self.postMessage({ id, ...(await answers[kind](what)) });
    } catch (error) {
      self.postMessage({ id, error: error.message || String(error) });
    }
  });
};
