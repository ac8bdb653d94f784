// A moment as the stage shows it: its futures, the recording, where they disagree, their PSNR.

import { chart, legend } from "./chart.js";
import { disagreement, psnr } from "./stage.js";

// PSNR of each future against the simulator or, if the recorded actions led here, the recording;
// null if there is neither.
function scores(play, node) {
  if (!node.parent) return null;
  if (node.scores) return node.scores;
  const truth = play.truth(node);
  if (!truth || !node.pixels) return null;
  const size = truth.length;
  node.scores = Array.from({ length: node.pixels.length / size }, (_, k) =>
    psnr(node.pixels.subarray(k * size, (k + 1) * size), truth),
  );
  node.still = psnr(play.last, truth);
  return node.scores;
}

// The pictures of the present moment; wanted: {truth, heat, ghosts, goal}: whether the first two are
// shown, too, and the pictures of what was thought of and of what it shall look like, or null.
export function cells(play, wanted) {
  const { current, recording } = play;
  const size = recording.height * recording.width * 3;
  const list = [];
  const psnrs = scores(play, current);
  const best = psnrs ? psnrs.indexOf(Math.max(...psnrs)) : -1;
  if (current.parent) {
    const samples = current.pixels.length / size;
    for (let k = 0; k < samples; k++) {
      list.push({
        kind: "imagined",
        label: samples > 1 ? `Future ${k + 1}` : "Imagined",
        note: psnrs ? `${psnrs[k].toFixed(1)} dB${k === best && samples > 1 ? ", best" : ""}` : "",
        pixels: current.pixels.subarray(k * size, (k + 1) * size),
      });
    }
    if (psnrs && (wanted.truth || current.beside)) {
      const label = current.beside ? "Simulator" : "Recorded";
      list.push({ kind: "recorded", label, pixels: play.truth(current) });
    }
    if (wanted.heat && samples > 1) {
      const { colours, mean } = disagreement(current.pixels, samples);
      list.push({ kind: "map", label: "Disagreement", note: `mean ${mean.toFixed(1)}`, pixels: colours });
    }
  } else {
    const first = play.wanted.start ?? 0;
    for (let i = 0; i < play.nPast; i++) {
      list.push({
        kind: "given",
        label: `Given frame ${i + 1} of ${play.nPast}`,
        pixels: recording.pixels.subarray((first + i) * size, (first + i + 1) * size),
      });
    }
  }
  if (wanted.goal) list.push({ kind: "recorded goal", label: "Goal", pixels: wanted.goal });
  if (wanted.ghosts) list.push({ kind: "ghosts", label: "Thought of", pixels: wanted.ghosts });
  return list;
}

// The moments up to the present one that can be scored.
export const scored = (play) => play.path().slice(1).filter((node) => scores(play, node));

// What standing still would score at a moment, in words; nothing where that is not known.
export const stillness = (moments, node) =>
  moments.at(-1) === node ? `; standing still ${node.still.toFixed(1)} dB` : "";

export function drawScores(nodes, room) {
  const mean = (values) => values.reduce((all, one) => all + one, 0) / values.length;
  const several = nodes[0].scores.length > 1;
  const series = [
    { name: several ? "best" : "PSNR", colour: "var(--s2)", values: nodes.map((n) => [n.t, Math.max(...n.scores)]) },
  ];
  if (several) {
    series.push({ name: "mean", colour: "var(--s1)", values: nodes.map((n) => [n.t, mean(n.scores)]) });
  }
  series.push({ name: "standing still", colour: "var(--quiet)", values: nodes.map((n) => [n.t, n.still]) });
  const width = Math.max(300, room.clientWidth);
  room.replaceChildren(
    chart(series, { width, height: 150, label: "PSNR by imagined frame" }),
    legend(series),
  );
}
