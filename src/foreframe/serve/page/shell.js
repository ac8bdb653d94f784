// The page around the views: what it says when something fails, its tabs, its colours.

export const $ = (id) => document.getElementById(id);

// An error is shown where it belongs: above the page, or beside the form that it is about.
export function trouble(error, where = "notice") {
  $(where).hidden = false;
  $(where).textContent = error.message;
}

export function calm() {
  for (const where of ["notice", "upload-notice"]) $(where).hidden = true;
}

export function connection(how) {
  $("connection").textContent = how === "lost" ? "Connection lost; trying again" : "";
  document.body.dataset.connection = how;
}

export async function tried(what, where) {
  try {
    return await what();
  } catch (error) {
    if (error.message !== "closed") trouble(error, where);
    return null;
  }
}

// names: of the views; chosen: told which of them is shown.
export function tabs(names, chosen) {
  const choose = (name, focus) => {
    for (const one of names) {
      const on = one === name;
      $(`view-${one}`).hidden = !on;
      $(`tab-${one}`).setAttribute("aria-selected", String(on));
      $(`tab-${one}`).tabIndex = on ? 0 : -1;
    }
    if (focus) $(`tab-${name}`).focus();
    chosen(name);
  };
  for (const name of names) {
    $(`tab-${name}`).addEventListener("click", () => choose(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        choose(names.find((one) => one !== name), true);
      }
    });
  }
}

// The list of keys, and what all this is: shown at the first visit, and when asked for.
export function dialogs() {
  const key = "foreframe-welcomed";
  let known = false;
  try {
    known = localStorage.getItem(key) === "yes";
  } catch { /* it is said again, then */ }
  const welcome = (shown) => {
    $("welcome").hidden = !shown;
    window.dispatchEvent(new Event("resize"));
  };
  if (!known) welcome(true);
  const off = () => {
    if ($("welcome").hidden) return;
    try {
      localStorage.setItem(key, "yes");
    } catch { /* for this visit only */ }
    welcome(false);
  };
  $("help").addEventListener("click", () => $("keys").showModal());
  $("about").addEventListener("click", () => welcome($("welcome").hidden));
  $("welcome-off").addEventListener("click", () => {
    off();
    $("stage").focus();
  });
  return off; // whoever drives has understood
}

// changed: told that other colours apply.
export function theme(changed) {
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
    changed();
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
