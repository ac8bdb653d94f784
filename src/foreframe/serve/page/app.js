// The page: what happens when. Each part has a module of its own.

import * as api from "./api.js";
import { chart, legend } from "./chart.js";
import { Controls } from "./controls.js";
import { Play } from "./session.js";
import * as share from "./share.js";
import { Stage, disagreement, psnr } from "./stage.js";
import { Timeline } from "./timeline.js";
import { Training } from "./training.js";

const $ = (id) => document.getElementById(id);
const THUMBNAILS = 12;

const state = {
  runs: [],
  run: null,
  play: null,
  source: { sequence: 0 },
  page: 0,
  running: false,
  replaying: false,
  lit: false, // a frame is being fetched by the loop
};

const stage = new Stage($("stage"));
const timeline = new Timeline($("timeline"), (node) => {
  pause();
  goTo(node);
});
const controls = new Controls({
  stage: $("stage"),
  pad: $("pad"),
  knob: $("knob"),
  others: $("other-actions"),
  strength: () => Number($("strength").value),
});
const training = new Training($("training-state"), $("training-charts"), trouble);

// -- words ---------------------------------------------------------------------------------------

function trouble(error) {
  $("notice").hidden = false;
  $("notice").textContent = error.message;
}

function calm() {
  $("notice").hidden = true;
}

function connection(how) {
  $("connection").textContent = how === "lost" ? "Connection lost; trying again" : "";
  document.body.dataset.connection = how;
}

async function tried(what) {
  try {
    return await what();
  } catch (error) {
    if (error.message !== "closed") trouble(error);
    return null;
  }
}

// -- beginning -----------------------------------------------------------------------------------

async function begin(source = state.source, more = {}) {
  pause();
  calm();
  state.replaying = false;
  const wanted = {
    ...source,
    samples: Number($("samples").value),
    seed: Math.max(0, Math.floor(Number($("seed").value)) || 0),
    ...more,
  };
  const before = state.play;
  const play = await tried(() => Play.begin(state.run, wanted, connection));
  if (!play) return null;
  before?.close();
  state.play = play;
  state.source = source;
  markThumbnail();
  $("replay").disabled = state.run.actions.length > 0 && !play.recording.actions;
  show();
  return play;
}

async function chooseRun(run) {
  state.run = run;
  $("run").value = run.run;
  state.page = 0;
  state.source = { sequence: 0 };
  controls.use(run);
  state.play?.close();
  state.play = null;
  const { right, up } = controls.axes;
  const label = (axis) => run.actions[axis.index]?.label ?? "";
  $("axes-note").textContent = run.actions.length
    ? `Left and right: ${label(right)}${right.sign < 0 ? ", reversed" : ""}. ` +
      (run.actions.length > 1
        ? `Up and down: ${label(up)}${up.sign < 0 ? ", reversed" : ""}. `
        : "") +
      (run.planar_known ? "" : "The camera is not known: swap or flip until it feels right.")
    : "This model takes no actions: its futures go their own way.";
  $("positions-note").hidden = !run.positions_rolled;
  $("positions-note").textContent =
    "The model also needs the arm's positions. They are rolled forward from your actions by a " +
    "linear map that was fitted on the training recordings.";
  $("samples").max = Math.min(8, run.limits.samples);
  $("speed").value = Math.min(30, Math.max(1, Math.round(run.frame_rate)));
  drawDirections(run);
  shown();
  if (!$("view-training").hidden) training.watch(run);
  await tried(listThumbnails);
  if (!run.playable) {
    trouble(new Error(`${run.name} has no model yet: its training has just begun. See Training.`));
    return;
  }
  if (run.sequences) await begin({ sequence: 0 });
  else trouble(new Error("No recordings are served with this run: upload one to start from."));
}

async function listThumbnails() {
  const { total, items } = await api.sequences(state.run.run, state.page * THUMBNAILS, THUMBNAILS);
  const list = items.map(({ sequence, frames }) => {
    const button = document.createElement("button");
    button.setAttribute("role", "option");
    button.dataset.sequence = sequence;
    button.setAttribute("aria-label", `Sequence ${sequence}, ${frames} frames`);
    const image = document.createElement("img");
    image.src = api.thumbnail(state.run.run, sequence);
    image.alt = "";
    button.append(image);
    button.addEventListener("click", () => begin({ sequence }));
    return button;
  });
  $("thumbnails").replaceChildren(...list);
  const pages = Math.max(1, Math.ceil(total / THUMBNAILS));
  $("page-number").textContent = total ? `${state.page + 1} of ${pages}` : "none";
  $("page-back").disabled = state.page === 0;
  $("page-on").disabled = state.page + 1 >= pages;
  markThumbnail();
}

function markThumbnail() {
  for (const button of $("thumbnails").children) {
    const is = Number(button.dataset.sequence) === state.source.sequence;
    button.setAttribute("aria-selected", String(is));
  }
}

function drawDirections(run) {
  const lines = run.z_directions.map((share, i) => {
    const line = document.createElement("label");
    line.className = "line";
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: -3, max: 3, step: 0.1, value: 0 });
    const output = document.createElement("output");
    const name = document.createElement("span");
    name.textContent = `Direction ${i + 1}`;
    input.title = `${(100 * share).toFixed(0)} % of the variance of the posterior's means`;
    const say = () => (output.textContent = `${Number(input.value).toFixed(1)} sd`);
    input.addEventListener("input", say);
    say();
    line.append(name, input, output);
    return line;
  });
  $("directions").replaceChildren(...lines);
  const turnable = lines.length > 0;
  $("z-mode").querySelector('[value="directions"]').disabled = !turnable;
  if (!turnable && $("z-mode").value === "directions") $("z-mode").value = "sampled";
}

// -- stepping ------------------------------------------------------------------------------------

function latent() {
  const mode = $("z-mode").value;
  if (mode === "sampled") return null;
  if (mode === "fixed") return { mode };
  const values = [...$("directions").querySelectorAll("input")].map((input) => Number(input.value));
  return { mode, values };
}

async function stepOnce() {
  const { play } = state;
  if (!play) return false;
  let step;
  if (state.replaying) {
    const recorded = play.recorded(play.current);
    if (!recorded) {
      state.replaying = false;
      pause();
      show();
      return false;
    }
    step = play.step(recorded.action, latent(), recorded.position, true);
  } else {
    step = play.step(controls.action(), latent());
  }
  const node = await tried(() => step);
  if (!node) {
    pause();
    return false;
  }
  if (state.play === play) show();
  return true;
}

let next = 0;

async function loop(now) {
  requestAnimationFrame(loop);
  controls.draw();
  if (!state.play || state.lit || now < next) return;
  const steering = controls.steering;
  if (!state.running && !steering) return;
  if (steering) state.replaying = false;
  const gap = 1000 / Number($("speed").value);
  next = Math.max(next + gap, now + gap - 17);
  if (now - next > gap) next = now;
  state.lit = true;
  await stepOnce();
  state.lit = false;
}

function run() {
  state.running = true;
  next = 0;
  shown();
}

function pause() {
  state.running = false;
  shown();
}

function goTo(node) {
  const { play } = state;
  if (!play || !node) return;
  play.go(node);
  state.replaying = false;
  show();
}

function back() {
  pause();
  if (state.play?.current.parent) goTo(state.play.current.parent);
}

function replay() {
  if (!state.play) return;
  if (state.replaying) {
    state.replaying = false;
    pause();
    return;
  }
  if (!state.play.recorded(state.play.current)) state.play.go(state.play.nodes[0]);
  state.replaying = true;
  run();
}

// -- showing -------------------------------------------------------------------------------------

function shown() {
  $("run-button").textContent = state.running ? "Pause" : "Run";
  $("run-button").setAttribute("aria-pressed", String(state.running));
  $("replay").setAttribute("aria-pressed", String(state.replaying));
  for (const name of ["strength", "samples", "speed"]) {
    const unit = { strength: " sd", samples: "", speed: " fps" }[name];
    $(`${name}-out`).textContent = `${$(name).value}${unit}`;
  }
  $("directions").hidden = $("z-mode").value !== "directions";
}

function scores(play, node) {
  if (!node.parent || !node.recorded) return null;
  if (node.scores) return node.scores;
  const truth = play.truth(node);
  if (!truth || !node.pixels) return null;
  const size = truth.length;
  node.scores = Array.from({ length: node.pixels.length / size }, (_, k) =>
    psnr(node.pixels.subarray(k * size, (k + 1) * size), truth),
  );
  return node.scores;
}

function show() {
  shown();
  const { play } = state;
  if (!play) return;
  const { current, recording } = play;
  if (current.parent && !current.pixels) {
    tried(() => play.refill(current)).then(() => current.pixels && state.play === play && show());
    return;
  }
  const { height, width } = recording;
  const size = height * width * 3;
  const cells = [];
  const found = scores(play, current);
  const best = found ? found.indexOf(Math.max(...found)) : -1;
  if (current.parent) {
    const samples = current.pixels.length / size;
    for (let k = 0; k < samples; k++) {
      cells.push({
        kind: "imagined",
        label: samples > 1 ? `Future ${k + 1}` : "Imagined",
        note: found ? `${found[k].toFixed(1)} dB${k === best && samples > 1 ? ", best" : ""}` : "",
        pixels: current.pixels.subarray(k * size, (k + 1) * size),
      });
    }
    if (found && $("show-truth").checked) {
      cells.push({ kind: "recorded", label: "Recorded", pixels: play.truth(current) });
    }
    if ($("heat").checked && samples > 1) {
      const { colours, mean } = disagreement(current.pixels, samples);
      cells.push({ kind: "map", label: "Disagreement", note: `mean ${mean.toFixed(1)}`, pixels: colours });
    }
  } else {
    const first = play.wanted.start ?? 0;
    for (let i = 0; i < play.nPast; i++) {
      cells.push({
        kind: "given",
        label: `Given frame ${i + 1} of ${play.nPast}`,
        pixels: recording.pixels.subarray((first + i) * size, (first + i + 1) * size),
      });
    }
  }
  stage.show(cells, height, width);
  timeline.draw(play);
  $("back").disabled = !current.parent;
  $("restart").disabled = !current.parent;
  $("branch").disabled = !current.parent;
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = !current.parent;
  const latency = current.milliseconds ? `, ${current.milliseconds.toFixed(0)} ms a frame` : "";
  $("state").textContent = current.parent
    ? `Imagined frame ${current.t}, branch ${current.lane + 1} of ${play.lanes}${latency}`
    : "The given frames. Steer, run or replay, and the model imagines on.";
  document.body.dataset.moment = current.id;
  document.body.dataset.t = current.t;
  document.body.dataset.lanes = play.lanes;
  showScores(play);
}

function showScores(play) {
  const nodes = play.path().slice(1).filter((node) => scores(play, node));
  $("truth-figure").hidden = !nodes.length;
  if (!nodes.length) return;
  const mean = (values) => values.reduce((all, one) => all + one, 0) / values.length;
  const several = nodes[0].scores.length > 1;
  const series = [
    { name: several ? "best" : "PSNR", colour: "var(--s2)", values: nodes.map((n) => [n.t, Math.max(...n.scores)]) },
  ];
  if (several) {
    series.push({ name: "mean", colour: "var(--s1)", values: nodes.map((n) => [n.t, mean(n.scores)]) });
  }
  const width = Math.max(300, $("psnr-chart").clientWidth);
  $("psnr-chart").replaceChildren(
    chart(series, { width, height: 150, label: "PSNR against the recording, by imagined frame" }),
    legend(series),
  );
}

// -- wiring --------------------------------------------------------------------------------------

function keys() {
  const typing = (event) =>
    event.ctrlKey || event.metaKey || event.altKey || !$("view-training").hidden ||
    event.target.closest("input, select, textarea, [role=tab], [role=option], summary");
  window.addEventListener("keydown", (event) => {
    if (typing(event) || event.defaultPrevented) return;
    const pressed = event.target.closest("button");
    if (event.key === " " && pressed) return; // the button's own
    const known = {
      " ": () => (state.running ? pause() : run()),
      ".": () => (pause(), stepOnce()),
      ",": back,
      Home: () => (pause(), goTo(state.play?.nodes[0])),
      b: () => (pause(), goTo(state.play?.fork())),
      r: replay,
    }[event.key];
    if (known) {
      if (!event.repeat || event.key === "." || event.key === ",") known();
      event.preventDefault();
    } else if (controls.key(event, true)) {
      event.preventDefault();
    }
  });
  window.addEventListener("keyup", (event) => controls.key(event, false));
}

function buttons() {
  $("run-button").addEventListener("click", () => (state.running ? pause() : run()));
  $("step").addEventListener("click", () => (pause(), stepOnce()));
  $("back").addEventListener("click", back);
  $("restart").addEventListener("click", () => (pause(), goTo(state.play?.nodes[0])));
  $("branch").addEventListener("click", () => (pause(), goTo(state.play?.fork())));
  $("replay").addEventListener("click", replay);
  $("swap").addEventListener("click", () => {
    controls.changeAxes((axes) => ([axes.right, axes.up] = [axes.up, axes.right]));
  });
  $("flip-x").addEventListener("click", () => controls.changeAxes(({ right }) => (right.sign *= -1)));
  $("flip-y").addEventListener("click", () => controls.changeAxes(({ up }) => (up.sign *= -1)));
  $("page-back").addEventListener("click", () => turn(-1));
  $("page-on").addEventListener("click", () => turn(1));
  $("run").addEventListener("change", () => {
    chooseRun(state.runs.find((one) => one.run === $("run").value));
  });
  for (const name of ["strength", "speed"]) $(name).addEventListener("input", shown);
  $("samples").addEventListener("input", shown);
  for (const name of ["samples", "seed"]) $(name).addEventListener("change", () => state.run && begin());
  $("z-mode").addEventListener("change", shown);
  for (const name of ["heat", "show-truth"]) $(name).addEventListener("change", show);
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => tried(() => save(button.dataset.save)));
  }
  $("share").addEventListener("click", () => tried(copyLink));
  $("upload").addEventListener("submit", (event) => {
    event.preventDefault();
    tried(upload);
  });
  window.addEventListener("resize", show);
  window.addEventListener("pagehide", () => state.play?.close());
}

async function turn(by) {
  state.page += by;
  await tried(listThumbnails);
}

async function upload() {
  calm();
  const form = new FormData();
  for (const file of $("upload-frames").files) form.append("frames", file);
  for (const part of ["actions", "positions"]) {
    const file = $(`upload-${part}`).files[0];
    if (file) form.append(part, file);
  }
  form.append("run", state.run.run);
  const total = [...form.values()].reduce((all, one) => all + (one.size ?? 0), 0);
  if (total > state.run.limits.upload_bytes) {
    throw new Error(`Uploads have at most ${Math.round(state.run.limits.upload_bytes / 2 ** 20)} MB.`);
  }
  const made = await api.upload(form);
  await begin({ upload: made.upload });
}

async function save(format) {
  pause();
  $("kept").textContent = "Making the file";
  const blob = await state.play.save(format).catch((error) => {
    $("kept").textContent = "";
    throw error;
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `imagined-${state.play.current.t}-frames.${format === "lab" ? "zip" : format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  $("kept").textContent = `Saved ${link.download}.`;
}

async function copyLink() {
  const link = share.address(state.play);
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    $("kept").textContent = "The link is in the clipboard, and in the address bar.";
  } catch {
    $("kept").textContent = "The link is in the address bar.";
  }
}

async function follow(hash) {
  const what = share.read(hash);
  if (!what) return false;
  const run = state.runs.find((one) => one.run === what.run);
  if (!run) throw new Error(`The link is of the run ${what.run}, which is not served here.`);
  await chooseRun(run);
  $("samples").value = what.wanted.samples;
  $("seed").value = what.wanted.seed;
  const { sequence, ...rest } = what.wanted;
  const play = await begin({ sequence }, rest);
  if (!play) return true;
  for (const { action, z, recorded } of what.steps) {
    const row = recorded ? play.recorded(play.current) : null;
    await play.step(row ? row.action : action, z, row?.position ?? null, recorded);
  }
  show();
  return true;
}

function tabs() {
  const all = ["play", "training"];
  const choose = (name, focus) => {
    for (const one of all) {
      const on = one === name;
      $(`view-${one}`).hidden = !on;
      $(`tab-${one}`).setAttribute("aria-selected", String(on));
      $(`tab-${one}`).tabIndex = on ? 0 : -1;
    }
    if (focus) $(`tab-${name}`).focus();
    if (name === "training") {
      pause();
      training.watch(state.run);
    } else {
      training.stop();
      show();
    }
  };
  for (const name of all) {
    $(`tab-${name}`).addEventListener("click", () => choose(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        choose(all.find((one) => one !== name), true);
      }
    });
  }
}

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("foreframe-theme");
  } catch { /* the system's, then */ }
  const apply = () => {
    const now = chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now;
    document.documentElement.style.colorScheme = now;
    $("theme").textContent = now === "dark" ? "Light" : "Dark";
    if (state.play) show();
  };
  dark.addEventListener("change", apply);
  $("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("foreframe-theme", chosen);
    } catch { /* for this visit only */ }
    apply();
  });
  apply();
}

async function main() {
  theme();
  tabs();
  keys();
  buttons();
  state.runs = await api.runs();
  $("run").replaceChildren(...state.runs.map(({ run, name }) => new Option(name, run)));
  shown();
  if (!(await follow(location.hash))) await chooseRun(state.runs[0]);
  window.addEventListener("hashchange", () => tried(() => follow(location.hash)));
  requestAnimationFrame(loop);
  document.body.dataset.ready = "yes";
}

main().catch((error) => {
  trouble(error);
  document.body.dataset.ready = "failed";
});
