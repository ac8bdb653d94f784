// What is seen, in an address: the start, the seed, and every step that led here.

const encode = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const decode = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));

const MOST_STEPS = 600;

export function address(play, { heat = false } = {}) {
  const steps = play.path().slice(1);
  if (play.wanted.upload !== undefined) throw new Error("An upload is not kept, so no link can lead to it.");
  if (steps.length > MOST_STEPS) throw new Error(`A link holds at most ${MOST_STEPS} steps.`);
  const actions = new Float32Array(steps.flatMap((node) => node.action ?? []));
  // How z was chosen, where it changes.
  const latents = [];
  steps.forEach((node, i) => {
    if (JSON.stringify(node.z) !== JSON.stringify(latents.at(-1)?.[1] ?? null) || !latents.length) {
      latents.push([i, node.z]);
    }
  });
  const what = {
    run: play.run.run,
    sequence: play.wanted.sequence,
    start: play.wanted.start ?? 0,
    samples: play.wanted.samples,
    seed: play.wanted.seed,
    both: play.wanted.both ? 1 : 0,
    heat: heat ? 1 : 0,
    steps: steps.length,
    recorded: steps.map((node) => (node.replayed ? 1 : 0)).join(""),
    latents,
    actions: encode(new Uint8Array(actions.buffer)),
  };
  const text = new TextEncoder().encode(JSON.stringify(what));
  return `${location.origin}${location.pathname}#play=${encode(text)}`;
}

// What an address says, or null; its steps as Play.step takes them.
export function read(hash) {
  const match = /^#play=([\w-]+)$/.exec(hash);
  if (!match) return null;
  try {
    const what = JSON.parse(new TextDecoder().decode(decode(match[1])));
    const numbers = new Float32Array(decode(what.actions).buffer);
    const count = Math.min(MOST_STEPS, Number(what.steps) || 0);
    const width = count ? numbers.length / count : 0;
    let latent = null;
    const changes = new Map(what.latents);
    const steps = Array.from({ length: count }, (_, i) => {
      if (changes.has(i)) latent = changes.get(i);
      return {
        action: width ? [...numbers.subarray(i * width, (i + 1) * width)] : null,
        z: latent,
        recorded: what.recorded[i] === "1",
      };
    });
    return {
      run: String(what.run),
      wanted: {
        sequence: Number(what.sequence),
        start: Number(what.start) || 0,
        samples: Number(what.samples) || 1,
        seed: Number(what.seed) || 0,
        both: what.both === 1,
      },
      heat: what.heat === 1,
      steps,
    };
  } catch {
    throw new Error("The link is damaged, or was made by another version.");
  }
}
