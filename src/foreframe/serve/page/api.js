// The service's HTTP side. Errors carry the reason that the service gives.

export class Refused extends Error {
  constructor(status, reason, gone = false) {
    super(reason);
    this.status = status;
    this.gone = gone;
  }
}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "The service does not answer. Is foreframe serve still running?");
  }
  if (!answer.ok && answer.status !== 304) {
    let said = {};
    try {
      said = await answer.json();
    } catch { /* no reason was given */ }
    throw new Refused(answer.status, said.reason ?? `The service answered ${answer.status}.`, said.gone);
  }
  return answer;
}

const part = encodeURIComponent;
const json = async (path, options) => (await asked(path, options)).json();

export const runs = () => json("/api/runs");

export const sequences = (run, offset, limit) =>
  json(`/api/runs/${part(run)}/sequences?offset=${offset}&limit=${limit}`);

export const thumbnail = (run, number) => `/api/runs/${part(run)}/sequences/${number}/thumbnail.png`;

const home = (run, source) =>
  source.upload === undefined
    ? `/api/runs/${part(run)}/sequences/${source.sequence}`
    : `/api/uploads/${part(source.upload)}`;

export async function recording(run, source) {
  const [frames, rows] = await Promise.all([
    asked(`${home(run, source)}/frames.bin`),
    json(`${home(run, source)}/actions`),
  ]);
  const [count, height, width] = frames.headers.get("x-shape").split(",").map(Number);
  return { pixels: new Uint8Array(await frames.arrayBuffer()), count, height, width, ...rows };
}

export const begin = (wanted) =>
  json("/api/sessions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });

export const plan = (wanted) =>
  json("/api/plans", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });

export const end = (session) =>
  fetch(`/api/sessions/${part(session)}`, { method: "DELETE", keepalive: true }).catch(() => {});

export const upload = (form) => json("/api/uploads", { method: "POST", body: form });

export const saved = async (session, node, format) =>
  (await asked(`/api/sessions/${part(session)}/export?node=${node}&format=${format}`)).blob();

export async function history(run, tag) {
  const answer = await asked(`/api/runs/${part(run)}/history`, {
    headers: tag ? { "if-none-match": tag } : {},
    cache: "no-store",
  });
  return answer.status === 304 ? null : { tag: answer.headers.get("etag"), ...(await answer.json()) };
}
