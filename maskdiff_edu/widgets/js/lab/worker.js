// The networks, beside the page: whatever they take, the page stays quick. Messages are
// {id, ask: "open" | "redraw", places, name, request}, or "prepare" and "map", which need no network;
// answers {id, progress | result | error}.

import { openNetwork } from "./network.js";
import { prepare } from "./prepare.js";
import { redraw } from "./redraw.js";
import { map } from "./volume.js";

/** What takes no network. @type {Record<string, (request: any) => any>} */
const WITHOUT = { prepare, map };

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

self.onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};

/** @param {{ id: number, ask: string, places: any, name: string, request?: any }} message */
async function answer({ id, ask, places, name, request }) {
  try {
    const report = (/** @type {number} */ loaded, /** @type {number} */ total) =>
      self.postMessage({ id, progress: { loaded, total } });
    const work = async () => {
      const opened = await network(places, name, report);
      return ask === "open" ? opened.manifest : redraw(opened, request);
    };
    const result = await (WITHOUT[ask] ?? work)(request);
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}
