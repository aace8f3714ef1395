// The networks, beside the page: whatever they take, the page stays quick. Messages are
// {id, ask: "open" | "redraw" | "prepare" | "detect" | "stop", places, name, request}; answers
// {id, progress | result | error}. "stop" has no answer: what was asked before it ends with null.

import { openNetwork } from "./network.js";
import { prepare, toVolume } from "./prepare.js";
import { redraw } from "./redraw.js";
import { detect } from "./volume.js";

/** Opened or being opened, by name. @type {Map<string, Promise<import("./network.js").Network>>} */
const networks = new Map();

/**
 * @param {import("./files.js").Places} places
 * @param {string} name
 * @param {import("./network.js").OnProgress} onProgress
 */
function network(places, name, onProgress) {
  const opened = networks.get(name) ?? openNetwork(places, name, onProgress);
  networks.set(name, opened);
  opened.catch(() => networks.delete(name)); // so that asking again tries again
  return opened;
}

/** One after the other, in the order they came: the engine runs one session at a time. */
let last = Promise.resolve();

/** Asked before this number: to be stopped. */
let stopped = 0;

self.onmessage = ({ data }) => {
  if (data.ask === "stop") stopped = data.id;
  else last = last.then(() => answer(data));
};

/** @param {{ id: number, ask: string, places: any, name: string, request?: any }} message */
async function answer({ id, ask, places, name, request }) {
  try {
    const report = (/** @type {number} */ loaded, /** @type {number} */ total) =>
      self.postMessage({ id, progress: { loaded, total } });
    const result = ask === "prepare" ? await prepare(request) : await asked();
    self.postMessage({ id, result });

    async function asked() {
      const opened = await network(places, name, report);
      if (ask === "open") return opened.manifest;
      if (ask === "redraw") return redraw(opened, request);
      const found = await detect(opened, request.slices, report, () => id < stopped);
      const { slices, scan } = request;
      return found && { ...found, volume: toVolume(found.anomaly, slices, scan) };
    }
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}
