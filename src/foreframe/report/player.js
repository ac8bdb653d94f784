(() => {
  "use strict";
  const bar = document.querySelector(".bar");
  const players = [...document.querySelectorAll(".player")];
  if (!bar || !players.length) return;
  const button = bar.querySelector("button");
  const slider = bar.querySelector("input");
  const output = bar.querySelector("output");
  const last = Number(slider.max), past = Number(bar.dataset.past);
  const edge = 3, gap = 8;
  const colours = { given: "#56b4e9", predicted: "#f0a028", recorded: "#707782" };
  let step = 0, timer = 0;

  // The frames come from the strips further down, which hold every step of both videos.
  const draw = (player) => {
    const strip = document.getElementById(player.dataset.strip);
    const grid = JSON.parse(player.dataset.grid);
    const canvas = player.querySelector("canvas");
    const pen = canvas.getContext("2d");
    const width = grid.frame[0] * grid.zoom, height = grid.frame[1] * grid.zoom;
    pen.imageSmoothingEnabled = false;
    [0, 1].forEach((row) => {
      const [x, y] = grid.corners[row][step];
      const left = row * (width + 2 * edge + gap);
      pen.fillStyle = step < past ? colours.given : row ? colours.predicted : colours.recorded;
      pen.fillRect(left, 0, width + 2 * edge, height + 2 * edge);
      pen.drawImage(strip, x, y, grid.drawn[0], grid.drawn[1], left + edge, edge, width, height);
    });
  };
  const show = (next) => {
    step = next;
    slider.value = step;
    const kind = step < past ? "given" : "predicted";
    slider.setAttribute("aria-valuetext", "step " + step + " of " + last + ", " + kind);
    output.textContent = "step " + step + " of " + last + ", " + kind;
    output.className = kind;
    players.forEach(draw);
  };
  const tick = () => {
    show(step === last ? 0 : step + 1);
    timer = setTimeout(tick, step === last ? 1200 : 200);
  };
  const pause = () => { clearTimeout(timer); timer = 0; button.textContent = "Play"; };
  const play = () => { button.textContent = "Pause"; timer = setTimeout(tick, 200); };

  Promise.all([...document.querySelectorAll(".strip img")].map((image) => image.decode())).then(() => {
    players.forEach((player) => {
      const grid = JSON.parse(player.dataset.grid);
      const gif = player.querySelector("img"), canvas = player.querySelector("canvas");
      canvas.width = 2 * (grid.frame[0] * grid.zoom + 2 * edge) + gap;
      canvas.height = grid.frame[1] * grid.zoom + 2 * edge;
      canvas.setAttribute("aria-label", gif.alt);
      const link = player.querySelector("a");
      link.href = gif.src;
      gif.hidden = true;
      player.querySelectorAll(".live").forEach((part) => { part.hidden = false; });
    });
    bar.hidden = false;
    button.addEventListener("click", () => (timer ? pause() : play()));
    slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
    show(0);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) pause(); else play();
  }).catch(() => {});
})();
