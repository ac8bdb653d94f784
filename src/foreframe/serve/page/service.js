// Who imagines: the service that this page comes from. Errors carry the reason that it gives.

import { Refused } from "./refused.js";

const MAGIC = 0x46464d31;
const HEADER_BYTES = 32;
const PATIENCE_MS = 20000;

// What the page can do with it.
export const CAN = { train: true, plan: true, save: ["gif", "mp4", "lab"] };

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "The service does not answer. Is foreframe serve still running?");
  }
  if (!answer.ok && answer.status !== 304) {
    let said = {};
    try {
      said = await answer.json();
    } catch { /* no reason was given */ }
    throw new Refused(answer.status, said.reason ?? `The service answered ${answer.status}.`, said.gone);
  }
  return answer;
}

const part = encodeURIComponent;
const json = async (path, options) => (await asked(path, options)).json();

export const runs = () => json("/api/runs");

export const sequences = (run, offset, limit) =>
  json(`/api/runs/${part(run)}/sequences?offset=${offset}&limit=${limit}`);

export const thumbnail = (run, number) => `/api/runs/${part(run)}/sequences/${number}/thumbnail.png`;

const home = (run, source) =>
  source.upload === undefined
    ? `/api/runs/${part(run)}/sequences/${source.sequence}`
    : `/api/uploads/${part(source.upload)}`;

export async function recording(run, source) {
  const [frames, rows] = await Promise.all([
    asked(`${home(run, source)}/frames.bin`),
    json(`${home(run, source)}/actions`),
  ]);
  const [count, height, width] = frames.headers.get("x-shape").split(",").map(Number);
  return { pixels: new Uint8Array(await frames.arrayBuffer()), count, height, width, ...rows };
}

export const begin = (wanted) =>
  json("/api/sessions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });

export const plan = (wanted) =>
  json("/api/plans", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });

export const end = (session) =>
  fetch(`/api/sessions/${part(session)}`, { method: "DELETE", keepalive: true }).catch(() => {});

export const upload = (form) => json("/api/uploads", { method: "POST", body: form });

export const saved = async (session, node, format) =>
  (await asked(`/api/sessions/${part(session)}/export?node=${node}&format=${format}`)).blob();

export const findings = (run) => json(`/api/runs/${part(run)}/findings`);

export async function history(run, tag) {
  const answer = await asked(`/api/runs/${part(run)}/history`, {
    headers: tag ? { "if-none-match": tag } : {},
    cache: "no-store",
  });
  return answer.status === 304 ? null : { tag: answer.headers.get("etag"), ...(await answer.json()) };
}

// -- steps ---------------------------------------------------------------------------------------

export class Line {
  // One socket that comes back when it is lost, and the questions that wait for an answer.
  constructor(session, onState) {
    this.session = session;
    this.onState = onState;
    this.waiting = new Map();
    this.number = 0;
    this.delay = 250;
    this.closed = false;
    this.opening = null;
  }

  open() {
    if (this.socket?.readyState === WebSocket.OPEN) return Promise.resolve();
    this.opening ??= new Promise((resolve, reject) => {
      const scheme = location.protocol === "https:" ? "wss:" : "ws:";
      const socket = new WebSocket(
        `${scheme}//${location.host}/api/sessions/${encodeURIComponent(this.session)}/steps`,
      );
      socket.binaryType = "arraybuffer";
      socket.onopen = () => {
        this.socket = socket;
        this.opening = null;
        this.delay = 250;
        this.onState("connected");
        resolve();
      };
      socket.onmessage = (event) => this.heard(event.data);
      socket.onclose = () => {
        const wasOpening = this.opening !== null;
        this.opening = null;
        this.lost();
        if (wasOpening) reject(new Refused(0, "The connection was lost."));
      };
    });
    return this.opening;
  }

  lost() {
    this.socket = null;
    for (const { reject } of this.waiting.values()) {
      reject(new Refused(0, "The connection was lost."));
    }
    this.waiting.clear();
    if (!this.closed) this.onState("lost");
  }

  heard(data) {
    if (typeof data === "string") {
      const said = JSON.parse(data);
      const error = new Refused(400, said.reason, said.gone);
      if (said.id === undefined || said.id === null) {
        for (const { reject } of this.waiting.values()) reject(error);
        this.waiting.clear();
      } else {
        this.settle(said.id, ({ reject }) => reject(error));
      }
      return;
    }
    const head = new DataView(data);
    if (head.getUint32(0, true) !== MAGIC) return;
    const [id, node, t, samples, height, width, micros] = [1, 2, 3, 4, 5, 6, 7].map((i) =>
      head.getUint32(4 * i, true),
    );
    const futures = samples * height * width * 3;
    const pixels = new Uint8Array(data, HEADER_BYTES, futures);
    // Where the simulator is driven beside, its picture comes after the futures.
    const rest = data.byteLength - HEADER_BYTES - futures;
    const beside = rest ? new Uint8Array(data, HEADER_BYTES + futures) : null;
    this.settle(id, ({ resolve }) => resolve({ node, t, samples, height, width, micros, pixels, beside }));
  }

  settle(id, how) {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (waiting) {
      clearTimeout(waiting.timer);
      how(waiting);
    }
  }

  async ask(message) {
    await this.open();
    const id = ++this.number;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        this.socket?.close();
        reject(new Refused(0, "The service took too long."));
      }, PATIENCE_MS);
      this.waiting.set(id, { resolve, reject, timer });
      this.socket.send(JSON.stringify({ type: "step", id, ...message }));
    });
  }

  async pause() {
    await new Promise((resolve) => setTimeout(resolve, this.delay));
    this.delay = Math.min(5000, 2 * this.delay);
  }

  close() {
    this.closed = true;
    this.socket?.close();
  }
}
