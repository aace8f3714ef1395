// The page's side of the worker: ask, and wait for the answer.

import { addressOf } from "./files.js";

/**
 * @typedef {import("./network.js").Manifest} Manifest
 * @typedef {import("./network.js").OnProgress} OnProgress
 * @typedef {import("./redraw.js").Request} Request
 * @typedef {import("./redraw.js").Redrawn} Redrawn
 * @typedef {Awaited<ReturnType<typeof import("./prepare.js").prepare>>} Prepared
 * @typedef {{
 *   open: (name: string, onProgress?: OnProgress) => Promise<Manifest>,
 *   redraw: (name: string, request: Request) => Promise<Redrawn>,
 *   prepare: (files: { scan: File, mask?: File | null }) => Promise<Prepared>,
 *   map: (request: Parameters<typeof import("./volume.js").map>[0]) =>
 *     Promise<import("./volume.js").Mapped>,
 *   close: () => void,
 * }} Lab
 */
/** @typedef {{ resolve: Function, reject: (error: Error) => void, onProgress: OnProgress }} Waiting */

/**
 * A laboratory: one worker, started when first asked and again should it die.
 * @param {import("./files.js").Places} places
 * @returns {Lab}
 */
export function openLab({ base, addresses = {} }) {
  /** @type {Map<number, Waiting>} */
  const waiting = new Map();
  /** @type {Worker | null} */
  let worker = null;
  let asked = 0;

  function start() {
    const started = new Worker(addressOf("lab/worker.js", { base, addresses }), { type: "module" });
    started.onmessage = ({ data }) => hear(waiting, data);
    started.onerror = (event) => {
      event.preventDefault();
      stop(`the part that runs networks stopped (${event.message || "no reason given"}); try again`);
    };
    return started;
  }

  /** @param {string} why */
  function stop(why) {
    worker?.terminate();
    worker = null;
    for (const { reject } of waiting.values()) reject(new Error(why));
    waiting.clear();
  }

  /** @param {string} ask @param {string} name @param {OnProgress} onProgress @param {any} [request] */
  function send(ask, name, onProgress, request) {
    return new Promise((resolve, reject) => {
      const id = ++asked;
      waiting.set(id, { resolve, reject, onProgress });
      worker ??= start();
      worker.postMessage({ id, ask, name, request, places: { base, addresses } });
    });
  }

  return {
    open: (name, onProgress = () => {}) => send("open", name, onProgress),
    redraw: (name, request) => send("redraw", name, () => {}, request),
    prepare: (files) => send("prepare", "", () => {}, files),
    map: (request) => send("map", "", () => {}, request),
    close: () => stop("the lab was closed"),
  };
}

/** @param {Map<number, Waiting>} waiting @param {any} message */
function hear(waiting, { id, progress, result, error }) {
  const asker = waiting.get(id);
  if (!asker) return;
  if (progress) {
    asker.onProgress(progress.loaded, progress.total);
    return;
  }
  waiting.delete(id);
  if (error !== undefined) asker.reject(new Error(error));
  else asker.resolve(result);
}
