// A service worker that gives the page's own answers the headers without which a browser lets no
// page use threads. A host that sends them itself never needs it.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (new URL(request.url).origin !== location.origin) return;
  if (request.cache === "only-if-cached" && request.mode !== "same-origin") return;
  event.respondWith(
    fetch(request).then((answer) => {
      if (answer.status === 0) return answer;
      const headers = new Headers(answer.headers);
      headers.set("cross-origin-embedder-policy", "require-corp");
      headers.set("cross-origin-opener-policy", "same-origin");
      headers.set("cross-origin-resource-policy", "same-origin");
      return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
    }),
  );
});
