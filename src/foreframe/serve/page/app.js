// The page: what happens when. Each part has a module of its own.

import * as backend from "./backend.js";
import { Controls } from "./controls.js";
import { Going } from "./going.js";
import { Links } from "./links.js";
import { drawDirections, latent } from "./latent.js";
import { cells, drawScores, scored, stillness } from "./moment.js";
import { Play } from "./session.js";
import { $, calm, connection, dialogs, tabs, theme, tried, trouble } from "./shell.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { Training } from "./training.js";

const THUMBNAILS = 6;

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
  note: $("axes-note"),
  notes: $("action-notes"),
  strength: () => Number($("strength").value),
});
const links = new Links({ state, chooseRun, begin, show });
const going = new Going({ playing: () => state.play, pause, run, show });
const training = new Training($("training-state"), $("training-words"), $("training-charts"), trouble);

// -- beginning -----------------------------------------------------------------------------------

async function begin(source = state.source, more = {}, where = "notice") {
  pause();
  calm();
  state.replaying = false;
  going.drop();
  const wanted = {
    ...source,
    both: $("both").checked && source.sequence !== undefined,
    samples: Number($("samples").value),
    seed: Math.max(0, Math.floor(Number($("seed").value)) || 0),
    ...more,
  };
  const before = state.play;
  const play = await tried(() => Play.begin(state.run, wanted, connection), where);
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
  $("positions-note").hidden = !run.positions_rolled;
  $("positions-note").textContent =
    "The model also needs the arm's positions. They are rolled forward from your actions by a " +
    "linear map that was fitted on the training recordings.";
  $("data-notes").hidden = !run.notes.length;
  $("data-notes").textContent = run.notes.join(" ");
  $("go-there").hidden = !run.actions.length || !backend.CAN.plan;
  $("both-line").hidden = !run.simulated;
  if (!run.simulated) $("both").checked = false;
  $("samples").max = Math.min(8, run.limits.samples);
  const rate = Math.max(1, Math.round(2 * run.frame_rate) / 2);
  $("speed").max = Math.min(60, Math.max(30, Math.ceil(rate)));
  $("speed").value = rate;
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
  const { total, items } = await backend.sequences(state.run.run, state.page * THUMBNAILS, THUMBNAILS);
  const list = items.map(({ sequence, frames }) => {
    const button = document.createElement("button");
    button.setAttribute("role", "option");
    button.dataset.sequence = sequence;
    button.setAttribute("aria-label", `Sequence ${sequence}, ${frames} frames`);
    const image = document.createElement("img");
    image.src = backend.thumbnail(state.run.run, sequence);
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

// -- stepping ------------------------------------------------------------------------------------

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
  } else if (going.left.length) {
    step = play.step(going.left.shift(), latent());
    if (!going.left.length) pause();
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
  if (steering) {
    state.replaying = false;
    going.stop();
  }
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
  going.stop();
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
  going.stop();
  if (!state.play.recorded(state.play.current)) state.play.go(state.play.nodes[0]);
  state.replaying = true;
  run();
}

// -- showing -------------------------------------------------------------------------------------

function shown() {
  $("run-button").textContent = state.running ? "Pause" : "Run";
  $("run-button").setAttribute("aria-pressed", String(state.running));
  $("replay").setAttribute("aria-pressed", String(state.replaying));
  for (const name of ["strength", "samples", "speed", "plan-steps"]) {
    const unit = { strength: " sd", speed: " fps" }[name] ?? "";
    $(`${name}-out`).textContent = `${$(name).value}${unit}`;
  }
  $("directions").hidden = $("z-mode").value !== "directions";
}

function show() {
  shown();
  const { play } = state;
  if (!play) return;
  const { current } = play;
  if (current.parent && !current.pixels) {
    tried(() => play.refill(current)).then(() => current.pixels && state.play === play && show());
    return;
  }
  const { height, width } = play.recording;
  const wanted = {
    truth: $("show-truth").checked,
    heat: $("heat").checked,
    goal: going.goal.picture,
    ghosts: going.goal.found?.from === current ? going.goal.ghosts() : null,
  };
  stage.show(cells(play, wanted), height, width, () => going.goal.marks());
  timeline.draw(play);
  $("back").disabled = !current.parent;
  $("restart").disabled = !current.parent;
  $("branch").disabled = !current.parent;
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = !current.parent;
  const latency = current.milliseconds ? `, ${current.milliseconds.toFixed(0)} ms a frame` : "";
  const moments = scored(play);
  $("state").textContent = current.parent
    ? `Imagined frame ${current.t}, branch ${current.lane + 1} of ${play.lanes}${latency}${stillness(moments, current)}`
    : "The given frames. Steer, run or replay, and the model imagines on.";
  document.body.dataset.moment = current.id;
  document.body.dataset.t = current.t;
  document.body.dataset.lanes = play.lanes;
  links.remember();
  $("truth-figure").hidden = !moments.length;
  const against = play.wanted.both ? "the simulator" : "the recording";
  $("truth-words").textContent =
    `PSNR against ${against}, dB, at each step: the best future, the mean of all, and the last given frame`;
  if (moments.length) drawScores(moments, $("psnr-chart"));
}

// -- wiring --------------------------------------------------------------------------------------

function keys() {
  const typing = (event) =>
    $("keys").open || event.ctrlKey || event.metaKey || event.altKey || !$("view-training").hidden ||
    event.target.closest("input, select, textarea, [role=tab], [role=option], summary");
  window.addEventListener("keydown", (event) => {
    if (typing(event) || event.defaultPrevented) return;
    if (going.goal.key(event)) return event.preventDefault();
    const pressed = event.target.closest("button");
    if (event.key === " " && pressed) return; // the button's own
    const known = {
      " ": () => (state.running ? pause() : run()),
      ".": () => (pause(), stepOnce()),
      ",": back,
      Home: () => (pause(), goTo(state.play?.nodes[0])),
      b: () => (pause(), goTo(state.play?.fork())),
      r: replay,
      g: () => going.pick(),
      "?": () => $("keys").showModal(),
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
  $("plan-steps").addEventListener("input", shown);
  $("both").addEventListener("change", () => state.run && begin());
  $("swap").addEventListener("click", () => {
    controls.changeAxes((axes) => ([axes.right, axes.up] = [axes.up, axes.right]));
  });
  $("flip-x").addEventListener("click", () => controls.changeAxes(({ right }) => (right.sign *= -1)));
  $("flip-y").addEventListener("click", () => controls.changeAxes(({ up }) => (up.sign *= -1)));
  for (const [name, by] of [["page-back", -1], ["page-on", 1]]) {
    $(name).addEventListener("click", () => {
      state.page += by;
      tried(listThumbnails);
    });
  }
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
  $("share").addEventListener("click", () => tried(() => links.copy()));
  $("upload").addEventListener("submit", (event) => {
    event.preventDefault();
    tried(upload, "upload-notice");
  });
  window.addEventListener("resize", show);
  window.addEventListener("pagehide", () => state.play?.close());
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
  const made = await backend.upload(form);
  await begin({ upload: made.upload }, {}, "upload-notice");
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

// What this page cannot do is not offered.
function offer({ train, save, frames }) {
  $("tab-training").hidden = !train;
  for (const button of document.querySelectorAll("[data-save]")) {
    button.hidden = !save.includes(button.dataset.save);
  }
  if (frames) {
    $("upload-words").textContent = frames.words;
    $("upload-frames").accept = frames.accept;
  }
}

async function main() {
  offer(backend.CAN);
  theme(() => state.play && show());
  tabs(["play", "training"], (name) => {
    if (name === "training") {
      pause();
      training.watch(state.run);
    } else {
      training.stop();
      show();
    }
  });
  keys();
  buttons();
  const welcomed = dialogs();
  $("stage").addEventListener("keydown", welcomed);
  state.runs = await backend.runs();
  $("run").replaceChildren(...state.runs.map(({ run, name }) => new Option(name, run)));
  shown();
  const trouble = await links.begin();
  if (trouble) tried(() => Promise.reject(trouble));
  requestAnimationFrame(loop);
  document.body.dataset.ready = "yes";
}

main().catch((error) => {
  trouble(error);
  document.body.dataset.ready = "failed";
});
