// The curves of a run, also while it trains.

import * as backend from "./backend.js";
import { chart, legend } from "./chart.js";

const POLL_MS = 3000;
const CHARTS = [
  ["Loss a frame, and its squared error", [["loss", "loss", 1], ["mse", "squared error", 2]]],
  ["KL a frame, nats", [["kld", "KL", 1]]],
  ["PSNR, dB", [["psnr", "training", 1], ["validation_psnr", "validation, free-running", 2]]],
  ["Weight of the KL, beta", [["beta", "beta", 1]]],
  ["Teacher forcing ratio", [["teacher_forcing_ratio", "ratio", 1]]],
  ["Learning rate", [["lr", "learning rate", 1]]],
  ["Latent units in use", [["active_units", "active units", 1]]],
  ["Frames a second", [["frames_per_second", "frames/s", 1]]],
];

export class Training {
  constructor(state, words, charts, trouble) {
    Object.assign(this, { state, words, charts, trouble });
  }

  watch(run) {
    this.stop();
    this.tag = null;
    this.charts.replaceChildren();
    this.words.replaceChildren();
    this.state.textContent = "";
    this.watched = run;
    this.look();
    this.tell(run);
  }

  // What probe and diagnosis have said, or the command that makes them.
  async tell(run) {
    const found = await backend.findings(run.run).catch(() => []);
    if (this.watched !== run) return;
    this.words.replaceChildren(...found.map(({ title, words, stale, command }) => {
      const section = document.createElement("section");
      const head = document.createElement("h2");
      head.textContent = title;
      const list = document.createElement("ul");
      for (const one of words) {
        const line = document.createElement("li");
        line.textContent = one;
        list.append(line);
      }
      const note = document.createElement("p");
      note.className = "quiet";
      note.textContent = !words.length ? `Not looked at yet: ${command}`
        : stale ? `The weights are newer than this: ${command}` : "";
      section.append(head, list, note);
      return section;
    }));
  }

  stop() {
    clearTimeout(this.timer);
    this.watched = null;
  }

  async look() {
    const run = this.watched;
    if (!run) return;
    let running = true;
    try {
      const history = await backend.history(run.run, this.tag);
      if (this.watched !== run) return;
      if (history) {
        this.tag = history.tag;
        this.running = history.running;
        this.draw(run, history);
      }
      running = this.running;
    } catch (error) {
      if (this.watched !== run) return;
      this.trouble(error);
    }
    if (running) this.timer = setTimeout(() => this.look(), POLL_MS);
  }

  draw(run, { rows, epochs, running }) {
    const best = Math.max(...rows.map((row) => row.validation_psnr ?? -Infinity));
    this.state.textContent =
      `${run.name}: ${rows.length} of ${epochs} epochs` +
      (running ? ", training now; the curves follow." : ".") +
      (Number.isFinite(best) ? ` Best validation PSNR ${best.toFixed(2)} dB.` : "");
    this.charts.replaceChildren();
    for (const [title, lines] of CHARTS) {
      const series = lines
        .map(([key, name, colour]) => ({
          name,
          colour: `var(--s${colour})`,
          values: rows.map((row) => [row.epoch + 1, row[key] ?? NaN]),
        }))
        .filter(({ values }) => values.some(([, y]) => Number.isFinite(y)));
      if (!series.length) continue;
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = title;
      const room = document.createElement("div");
      room.className = "chart";
      room.append(chart(series, { label: `${title}, by epoch`, x: "" }));
      figure.append(caption, room, legend(series));
      this.charts.append(figure);
    }
  }
}
