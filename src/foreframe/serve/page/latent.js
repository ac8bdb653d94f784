// How z is chosen: drawn each frame, drawn once, or turned by hand along its principal directions.

import { $ } from "./shell.js";

// A slider for each direction; without any, z cannot be turned.
export function drawDirections(run) {
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
  $("z-line").hidden = run.latent_of_episode; // it is drawn once, at the beginning
  const turnable = lines.length > 0;
  $("z-mode").querySelector('[value="directions"]').disabled = !turnable;
  if ((!turnable && $("z-mode").value === "directions") || run.latent_of_episode) {
    $("z-mode").value = "sampled";
  }
}

// The choice as a step takes it; null is a draw each frame.
export function latent() {
  const mode = $("z-mode").value;
  if (mode === "sampled") return null;
  if (mode === "fixed") return { mode };
  const values = [...$("directions").querySelectorAll("input")].map((input) => Number(input.value));
  return { mode, values };
}
