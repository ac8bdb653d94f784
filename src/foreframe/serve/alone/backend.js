// Who imagines: this browser.

export * from "./inbrowser.js";
