// The address: what is seen goes into it, so that a reload or a link goes on from there.

import * as share from "./share.js";
import { $, tried } from "./shell.js";

const PAUSE_MS = 700; // browsers take only some addresses a minute

export class Links {
  // page: state, chooseRun(run), begin(source, more), show().
  constructor(page) {
    this.page = page;
    this.following = false;
    this.timer = null;
    window.addEventListener("pagehide", () => this.write());
    window.addEventListener("hashchange", () => tried(() => this.follow(location.hash)));
  }

  // Follow the page's own address, or begin with the first run; an error is what was wrong with it.
  async begin() {
    const { state, chooseRun } = this.page;
    let wrong = null;
    try {
      if (await this.follow(location.hash)) return null;
    } catch (error) {
      wrong = error;
    }
    await chooseRun(state.runs[0]);
    return wrong;
  }

  address() {
    return share.address(this.page.state.play, { heat: $("heat").checked });
  }

  // Soon the address will lead here.
  remember() {
    if (this.timer === null) this.timer = setTimeout(() => this.write(), PAUSE_MS);
  }

  write() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.following || !this.page.state.play) return;
    let link = location.pathname + location.search;
    try {
      link = this.address();
    } catch { /* an upload, or too long: nothing leads back to it */ }
    if (link !== location.href) history.replaceState(null, "", link);
  }

  async copy() {
    const link = this.address();
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      $("kept").textContent = "The link is in the clipboard, and in the address bar.";
    } catch {
      $("kept").textContent = "The link is in the address bar.";
    }
  }

  // Whether an address says anything; then it is played.
  async follow(hash) {
    const what = share.read(hash);
    if (!what) return false;
    const run = this.page.state.runs.find((one) => one.run === what.run);
    if (!run) throw new Error(`The link is of the run ${what.run}, which is not served here.`);
    this.following = true;
    try {
      await this.play(run, what);
    } finally {
      this.following = false;
    }
    this.page.show();
    return true;
  }

  async play(run, what) {
    const { chooseRun, begin } = this.page;
    await chooseRun(run);
    $("samples").value = what.wanted.samples;
    $("seed").value = what.wanted.seed;
    $("heat").checked = what.heat;
    $("both").checked = what.wanted.both && run.simulated;
    const { sequence, ...rest } = what.wanted;
    const play = await begin({ sequence }, rest);
    if (!play) return;
    for (const { action, z, recorded } of what.steps) {
      const row = recorded ? play.recorded(play.current) : null;
      await play.step(row ? row.action : action, z, row?.position ?? null, recorded);
    }
  }
}
