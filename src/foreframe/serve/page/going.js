// Plans asked for, looked at for a moment, and carried out in the imagination.

import { Goal, encoded } from "./goal.js";
import { $, calm, tried } from "./shell.js";

const SHOWN_MS = 1200; // a plan is looked at so long before it is carried out

export class Going {
  // page: playing() the present Play, pause(), run(), show().
  constructor(page) {
    this.page = page;
    this.left = []; // actions that are still to be carried out
    this.where = null; // what was asked for last
    this.goal = new Goal($("stage"), {
      changed: page.show,
      chosen: (where) => tried(() => this.plan(where)),
      say,
    });
    $("pick").addEventListener("click", () => this.pick());
    $("plan-on").addEventListener("click", () => tried(() => this.on()));
    $("plan-off").addEventListener("click", () => {
      page.pause();
      this.drop();
      page.show();
    });
    $("plan-picture").addEventListener("click", () => tried(() => this.toPicture()));
  }

  pick() {
    this.page.pause();
    this.goal.pick();
    $("stage").focus();
  }

  // where: {thing, goal} or {picture}.
  async plan(where) {
    const { page, goal } = this;
    const play = page.playing();
    if (!play) return;
    page.pause();
    calm();
    this.stop();
    const [from, steps] = [play.current, Number($("plan-steps").value)];
    const same = () => page.playing() === play && play.current === from;
    say("Thinking of what could be done.");
    const found = await play.plan(where, steps).catch((error) => {
      say("");
      throw error;
    });
    if (!same()) return;
    this.where = where;
    goal.show(found, from);
    say(
      `Thought of ${Math.round(found.imagined / steps)} futures of ${steps} frames in ` +
      `${found.seconds.toFixed(1)} s; the best is carried out.`,
    );
    $("plan-on").disabled = $("plan-off").disabled = false;
    await new Promise((resolve) => setTimeout(resolve, SHOWN_MS));
    if (!same() || goal.found?.from !== from) return;
    this.left = found.actions.map((action) => [...action]);
    page.run();
  }

  // The same goal from here: the object is where the last plan has brought it.
  async on() {
    const { where, goal } = this;
    if (where) await this.plan(where.picture ? where : { thing: goal.end, goal: where.goal });
  }

  async toPicture() {
    const play = this.page.playing();
    if (!play) return;
    const { pixels, count, height, width } = play.recording;
    const frame = Math.min(count - 1, Math.max(0, Math.floor(Number($("goal-frame").value)) || 0));
    const size = height * width * 3;
    this.goal.clear();
    this.goal.picture = pixels.subarray(frame * size, (frame + 1) * size);
    await this.plan({ picture: encoded(this.goal.picture) });
  }

  // Whatever else is done ends the plan.
  stop() {
    this.left = [];
  }

  drop() {
    this.stop();
    this.goal.clear();
    this.where = null;
    say("");
    $("plan-on").disabled = $("plan-off").disabled = true;
  }
}

const say = (words) => ($("plan-notes").textContent = words);
