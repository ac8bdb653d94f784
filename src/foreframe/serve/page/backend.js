// Who imagines. A page that needs no service has another file in this place.

export * from "./service.js";
