// Who imagines: this browser. The model's graphs run in a worker; no service is asked for anything.

import { gif } from "./gif.js";
import { Refused } from "./refused.js";

export const CAN = {
  train: false,
  plan: false,
  save: ["gif"],
  frames: { words: "Frames: pictures, in the order of their names; they stay on this machine", accept: "image/*" },
};

const TRIED = "foreframe-isolated";
const RECORDINGS = "starts/starts.json";
const MODEL = "model/model.json";
const SIZES = { upload_bytes: 64 * 2 ** 20, upload_frames: 300, steps_per_second: 240, n_future: 600 };

// Threads need a page that is isolated from others. Where the host does not make it so, a service
// worker does, and the page is loaded once more, before anything large was read.
async function isolated() {
  if (self.crossOriginIsolated || !navigator.serviceWorker || sessionStorage.getItem(TRIED)) return;
  try {
    sessionStorage.setItem(TRIED, "yes");
    await navigator.serviceWorker.register("./isolate.js");
    await navigator.serviceWorker.ready;
    location.reload();
    await new Promise(() => {}); // until it is loaded again
  } catch { /* one thread, then */ }
}

await isolated();

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
const uploads = new Map();
const sessions = new Map();
let asked = 0;

worker.onmessage = ({ data: { id, error, ...answer } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Refused(500, error));
  else resolve(answer);
};
worker.onerror = (event) => {
  for (const { reject } of waiting.values()) reject(new Refused(500, event.message || "The worker failed."));
  waiting.clear();
};

function ask(kind, what = {}) {
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, kind, ...what });
  });
}

const json = async (path) => {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw new Refused(0, `${path} cannot be read: the page is not whole, or not served.`);
  return answer.json();
};

let model = null;
let starts = null;

export async function runs() {
  [model, starts] = await Promise.all([json(MODEL), json(RECORDINGS)]);
  ask("load").catch(() => {}); // while the page is drawn; begin says what went wrong
  return [{
    ...model,
    run: model.run,
    name: model.run,
    recipe: "",
    playable: true,
    frame_rate: model.frame_rate ?? 5,
    positions_rolled: model.positions.length > 0 && model.kinematics !== null,
    planar: model.planar,
    planar_known: model.planar_known,
    sequences: starts.items.length,
    simulated: false,
    notes: [],
    z_directions: [],
    limits: { samples: 8, ...SIZES },
  }];
}

export async function sequences(run, offset, limit) {
  const items = starts.items
    .map(({ frames }, sequence) => ({ sequence, name: String(sequence), frames }))
    .slice(offset, offset + limit);
  return { total: starts.items.length, items };
}

export const thumbnail = (run, number) => `starts/${number}-first.png`;

// The pixels of a picture, uint8 RGB, exactly as they are in the file.
async function pixelsOf(blob, width, height) {
  const exactly = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const image = await createImageBitmap(blob, exactly);
  const canvas = new OffscreenCanvas(width ?? image.width, height ?? image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  // The middle of a picture of other proportions.
  const scale = Math.max(canvas.width / image.width, canvas.height / image.height);
  const [w, h] = [image.width * scale, image.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return rgb;
}

export async function recording(run, source) {
  if (source.upload !== undefined) {
    const kept = uploads.get(source.upload);
    if (!kept) throw new Refused(404, "The upload is not there any more; upload it again.");
    return kept;
  }
  const [height, width] = model.frame_size;
  const { frames, actions, positions } = starts.items[source.sequence];
  const answer = await fetch(`starts/${source.sequence}.png`);
  if (!answer.ok) throw new Refused(404, `The recording ${source.sequence} cannot be read.`);
  return { pixels: await pixelsOf(await answer.blob()), count: frames, height, width, actions, positions };
}

// A row for each frame, numbers apart by commas; a first line of names is passed over.
function table(text, width, what) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  if (lines.length && lines[0].split(",").some((cell) => Number.isNaN(Number(cell)))) lines.shift();
  const rows = lines.map((line) => line.split(",").map(Number));
  const wrong = rows.findIndex((row) => row.length !== width || row.some((x) => !Number.isFinite(x)));
  if (wrong >= 0) {
    throw new Refused(422, `${what}: row ${wrong + 1} has not ${width} numbers, as the model takes them.`);
  }
  return rows;
}

export async function upload(form) {
  const [height, width] = model.frame_size;
  const files = form.getAll("frames").sort((a, b) => (a.name < b.name ? -1 : 1));
  const pictures = [];
  for (const file of files) {
    pictures.push(await pixelsOf(file, width, height).catch(() => {
      throw new Refused(422, `${file.name}: cannot be read as a picture.`);
    }));
  }
  const count = pictures.length;
  if (count < model.n_past) throw new Refused(422, `${model.n_past} frames are needed, and ${count} are given.`);
  const pixels = new Uint8Array(count * height * width * 3);
  pictures.forEach((one, t) => pixels.set(one, t * one.length));
  const rows = {};
  for (const part of ["actions", "positions"]) {
    const file = form.get(part);
    rows[part] = file?.size ? table(await file.text(), model[part].length, part) : null;
  }
  const name = `upload-${uploads.size}`;
  uploads.set(name, { pixels, count, height, width, ...rows });
  return { upload: name, frames: count, size: [height, width] };
}

const rest = (part) =>
  model[part].map(({ low, high, mean }) => (part === "actions" && low <= 0 && high >= 0 ? 0 : mean));

export async function begin(wanted) {
  const source = wanted.upload === undefined ? { sequence: wanted.sequence } : { upload: wanted.upload };
  const { pixels, count, height, width, actions, positions } = await recording(wanted.run, source);
  const [start, nPast] = [wanted.start ?? 0, model.n_past];
  if (start + nPast > count) throw new Refused(422, `${nPast} frames are needed from ${start} on, of ${count}.`);
  const size = height * width * 3;
  const given = pixels.slice(start * size, (start + nPast) * size);
  const rows = (part, recorded) =>
    Array.from({ length: nPast }, (_, t) => recorded?.[start + t] ?? rest(part));
  const firstRow = start + nPast - (model.timing === "source" ? 1 : 0);
  const told = { actions: rows("actions", actions), positions: rows("positions", positions) };
  const { session } = await ask("begin", {
    given, ...told, samples: wanted.samples, seed: wanted.seed,
    position: positions?.[firstRow] ?? told.positions.at(-1),
  });
  sessions.set(session, { given, height, width, samples: wanted.samples, pictures: new Map(), parents: new Map() });
  return { session, node: 0, samples: wanted.samples, n_past: nPast, first_row: firstRow, size: [height, width], both: false };
}

export const end = (session) => {
  sessions.delete(session);
  return ask("end", { session }).catch(() => {});
};

export class Line {
  constructor(session, onState) {
    Object.assign(this, { session, onState });
  }

  async open() {
    this.onState("connected");
  }

  async ask({ from, action, position, z }) {
    const answer = await ask("step", {
      session: this.session, from, action: action ?? rest("actions"), position, fixed: z?.mode === "fixed",
    });
    const kept = sessions.get(this.session);
    kept?.pictures.set(answer.node, answer.pixels);
    kept?.parents.set(answer.node, from);
    return answer;
  }

  async pause() {}

  close() {}
}

export async function saved(session, node, format) {
  const kept = sessions.get(session);
  if (!kept || format !== "gif") throw new Refused(404, "There is nothing to save.", true);
  const path = [];
  for (let at = node; at; at = kept.parents.get(at)) path.push(kept.pictures.get(at));
  const { given, height, width, samples } = kept;
  const size = height * width * 3;
  const frames = [];
  for (let t = 0; t < given.length / size; t++) {
    frames.push(Array.from({ length: samples }, () => given.subarray(t * size, (t + 1) * size)));
  }
  for (const pixels of path.reverse()) {
    frames.push(Array.from({ length: samples }, (_, k) => pixels.subarray(k * size, (k + 1) * size)));
  }
  return gif(frames, { height, width, given: given.length / size, rate: model.frame_rate ?? 5 });
}

export const history = async () => ({ tag: "", epochs: 0, running: false, rows: [] });
export const findings = async () => [];
export const plan = async () => {
  throw new Refused(404, "Planning needs the service: foreframe play.");
};
