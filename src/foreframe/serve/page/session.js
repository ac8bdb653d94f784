// A tree of imagined moments, and how it grows.
//
// The page keeps the whole tree: frames, actions and how z was chosen. The service may forget: a
// moment, to save memory, or the session, after a long pause. Whatever it forgot is replayed from
// the given frames; the same seed and actions give the same frames.

import * as backend from "./backend.js";
import { Refused } from "./refused.js";

const FRAMES_KEPT = 2000; // moments whose pixels the page keeps; those of others are asked for again

export class Play {
  // wanted: run, sequence or upload, start, samples, seed, both (the simulator driven beside).
  static async begin(run, wanted, onState) {
    const play = new Play(run, wanted, onState);
    const source = wanted.upload === undefined ? { sequence: wanted.sequence } : { upload: wanted.upload };
    const [recording] = await Promise.all([backend.recording(run.run, source), play.connect()]);
    play.recording = recording;
    return play;
  }

  constructor(run, wanted, onState) {
    this.run = run;
    this.wanted = wanted;
    this.onState = onState;
    this.nodes = [{ id: 0, parent: null, t: 0, lane: 0, children: [], remote: 0, recorded: true }];
    this.current = this.nodes[0];
    this.lanes = 1;
    this.busy = Promise.resolve();
  }

  async connect() {
    this.line?.close();
    const begun = await backend.begin({ run: this.run.run, ...this.wanted });
    this.session = begun.session;
    this.nPast = begun.n_past;
    this.firstRow = begun.first_row;
    this.size = begun.size;
    for (const node of this.nodes) node.remote = node.parent === null ? 0 : null;
    this.line = new backend.Line(begun.session, this.onState);
    await this.line.open();
  }

  // One step from the current moment; steps come one after another, however they are asked for.
  step(action, z = null, position = null, recorded = false) {
    const next = this.busy.then(() => this.grow(this.current, { action, z, position, recorded }));
    this.busy = next.catch(() => {});
    return next;
  }

  async grow(parent, how) {
    const began = performance.now();
    const answer = await this.asked(parent, how);
    const node = {
      id: this.nodes.length,
      parent,
      t: parent.t + 1,
      children: [],
      remote: answer.node,
      pixels: answer.pixels,
      beside: answer.beside,
      action: how.action,
      z: how.z,
      position: how.position,
      recorded: how.recorded && parent.recorded,
      replayed: how.recorded,
      micros: answer.micros,
      milliseconds: performance.now() - began,
    };
    node.lane = parent.children.length === 0 ? parent.lane : this.lanes++;
    parent.children.push(node);
    this.nodes.push(node);
    const old = this.nodes[this.nodes.length - 1 - FRAMES_KEPT];
    if (old && old !== this.current) old.pixels = old.beside = null;
    // Whoever has gone to another moment meanwhile stays there.
    if (this.current === parent) this.current = node;
    return node;
  }

  // Ask until there is an answer: after a lost connection again, after a lost moment from the start.
  async asked(parent, how) {
    for (;;) {
      if (this.closed) throw new Refused(0, "closed");
      try {
        await this.recall(parent);
        return await this.line.ask(message(parent, how));
      } catch (error) {
        if (this.closed) throw error;
        if (error.gone) {
          await this.forgotten();
        } else if (error.status === 0) {
          this.onState("lost");
          await this.line.pause();
        } else {
          throw error;
        }
      }
    }
  }

  async forgotten() {
    // Either the moment or the whole session: the first moment of a living session is never lost.
    const known = this.nodes.some((node) => node.parent !== null && node.remote !== null);
    for (const node of this.nodes) if (node.parent !== null) node.remote = null;
    if (known && this.triedAgain !== this.session) {
      this.triedAgain = this.session;
      return;
    }
    await this.connect();
  }

  async recall(node) {
    const missing = [];
    for (let at = node; at.remote === null; at = at.parent) missing.push(at);
    for (const lost of missing.reverse()) {
      lost.remote = (await this.line.ask(message(lost.parent, lost))).node;
    }
    if (missing.length) this.triedAgain = null;
  }

  // The pixels of a moment that were dropped, imagined again.
  refill(node) {
    const next = this.busy.then(async () => {
      if (node.pixels) return;
      const answer = await this.asked(node.parent, node);
      const { pixels, beside } = answer;
      Object.assign(node, { pixels, beside, remote: answer.node });
    });
    this.busy = next.catch(() => {});
    return next;
  }

  // Actions from the present moment to a goal; see PlanIn.
  plan(goal, steps) {
    const from = this.current;
    const next = this.busy.then(async () => {
      for (let tries = 0; ; tries++) {
        try {
          await this.recall(from);
          return await backend.plan({ session: this.session, node: from.remote, steps, ...goal });
        } catch (error) {
          if ((!error.gone && error.status !== 404) || tries === 2) throw error;
          await this.forgotten();
        }
      }
    });
    this.busy = next.catch(() => {});
    return next;
  }

  go(node) {
    this.current = node;
  }

  path(node = this.current) {
    const nodes = [];
    for (let at = node; at; at = at.parent) nodes.push(at);
    return nodes.reverse();
  }

  // Where the present branch left the one before it; the first moment if it never did.
  fork() {
    let at = this.current;
    while (at.parent && at.parent.lane === at.lane) at = at.parent;
    return at.parent ?? this.nodes[0];
  }

  row(node) {
    return this.firstRow + node.t;
  }

  // What was recorded as leading from this moment to the next; null at the recording's end.
  recorded(node) {
    const row = this.row(node);
    const frame = (this.wanted.start ?? 0) + this.nPast + node.t;
    if (frame >= this.recording.count) return null;
    return {
      action: this.recording.actions?.[row] ?? null,
      position: this.recording.positions?.[row] ?? null,
    };
  }

  // What the futures are held against: the simulator's picture, or the recording's.
  truth(node) {
    if (node.beside) return node.beside;
    if (!node.recorded) return null;
    return this.seen(node);
  }

  // The last of the given frames.
  get last() {
    return this.seen(this.nodes[0]);
  }

  seen(node) {
    const { pixels, count, height, width } = this.recording;
    const frame = (this.wanted.start ?? 0) + this.nPast - 1 + node.t;
    if (frame >= count) return null;
    const size = height * width * 3;
    return pixels.subarray(frame * size, (frame + 1) * size);
  }

  async save(format) {
    await this.busy;
    for (let tries = 0; ; tries++) {
      try {
        await this.recall(this.current);
        return await backend.saved(this.session, this.current.remote, format);
      } catch (error) {
        if (!error.gone && error.status !== 404 || tries === 2) throw error;
        await this.forgotten();
      }
    }
  }

  close() {
    this.closed = true;
    this.line?.close();
    if (this.session) backend.end(this.session);
  }
}

function message(parent, how) {
  return {
    from: parent.remote,
    action: how.action,
    position: how.position ?? null,
    z: how.z,
  };
}
