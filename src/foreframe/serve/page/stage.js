// The pictures: each future, the recording, and where the futures disagree. Numbers about them too.

import { element } from "./chart.js";

const GAP = 8;
const CAPTION = 24; // pixels above each picture

// Columns and the width of a picture, for which count pictures fill a room best.
export function layout(count, width, height, aspect) {
  let best = { columns: 1, size: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (width - GAP * (columns - 1)) / columns;
    const down = ((height - GAP * (rows - 1)) / rows - CAPTION) * aspect;
    const size = Math.floor(Math.min(across, down));
    if (size > best.size) best = { columns, size };
  }
  return best;
}

export class Stage {
  constructor(root) {
    this.root = root;
    this.cells = [];
  }

  // wanted: a list of {kind, label, pixels (RGB), note}; kind is given, imagined, recorded or map.
  // marks: makes what is drawn over each picture but the maps, in 100 x 100.
  show(wanted, height, width, marks = () => []) {
    while (this.cells.length > wanted.length) this.cells.pop().figure.remove();
    while (this.cells.length < wanted.length) {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const label = document.createElement("span");
      const note = document.createElement("span");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      const over = element("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
      over.classList.add("marks");
      const picture = document.createElement("div");
      picture.className = "picture";
      picture.append(canvas, over);
      caption.append(label, note);
      figure.append(caption, picture);
      this.root.append(figure);
      this.cells.push({ figure, label, note, canvas, over, context: canvas.getContext("2d") });
    }
    this.root.dataset.cells = wanted.length;
    // Padding and the outline of the focus stay outside of the pictures.
    const room = [this.root.clientWidth, this.root.clientHeight];
    const { columns, size } = layout(wanted.length, ...room, width / height);
    this.root.style.gridTemplateColumns = `repeat(${columns}, ${Math.max(40, size)}px)`;
    wanted.forEach((one, i) => {
      const { figure, label, note, canvas, over, context } = this.cells[i];
      figure.className = `cell ${one.kind}`;
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
        canvas.style.aspectRatio = `${width} / ${height}`;
      }
      if (label.textContent !== one.label) {
        label.textContent = one.label;
        canvas.setAttribute("aria-label", one.label);
      }
      note.textContent = one.note ?? "";
      context.putImageData(asImage(one.pixels, width, height), 0, 0);
      over.replaceChildren(...(one.kind === "map" ? [] : marks()));
    });
  }
}

function asImage(rgb, width, height) {
  const image = new ImageData(width, height);
  const { data } = image;
  for (let from = 0, to = 0; to < data.length; from += 3, to += 4) {
    data[to] = rgb[from];
    data[to + 1] = rgb[from + 1];
    data[to + 2] = rgb[from + 2];
    data[to + 3] = 255;
  }
  return image;
}

// Peak signal-to-noise ratio of a frame in dB, per channel and then averaged, as evaluation has it.
export function psnr(frame, truth) {
  const sums = [0, 0, 0];
  for (let i = 0; i < truth.length; i++) sums[i % 3] += (frame[i] - truth[i]) ** 2;
  const pixels = truth.length / 3;
  return sums.reduce((all, sum) => all - 10 * Math.log10(Math.max(sum / pixels / 65025, 1e-10)), 0) / 3;
}

const LEVELS_SHOWN = 48; // of 255: a deviation as large as this has the brightest colour

// The deviation of each pixel over the futures (mean of the channels), as colours, and its mean.
export function disagreement(pixels, samples) {
  const size = pixels.length / samples;
  const colours = new Uint8Array(size);
  let total = 0;
  for (let at = 0; at < size; at += 3) {
    let deviation = 0;
    for (let channel = at; channel < at + 3; channel++) {
      let sum = 0;
      let squares = 0;
      for (let k = 0; k < samples; k++) {
        const value = pixels[k * size + channel];
        sum += value;
        squares += value * value;
      }
      deviation += Math.sqrt(Math.max(0, squares / samples - (sum / samples) ** 2));
    }
    deviation /= 3;
    total += deviation;
    const share = Math.min(1, deviation / LEVELS_SHOWN);
    colours[at] = 255 * Math.min(1, 1.6 * share ** 0.7);
    colours[at + 1] = 255 * share ** 1.1 * 0.85;
    colours[at + 2] = 255 * (0.18 + 0.5 * share * (1 - share));
  }
  return { colours, mean: total / (size / 3) };
}
