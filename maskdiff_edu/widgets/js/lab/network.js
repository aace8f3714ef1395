// A shipped network, run by ONNX Runtime Web: WebAssembly on one thread, which every site and every
// browser of today allows.

import { addressOf, loadFile, loadJson, unpack } from "./files.js";
import * as ort from "./ort/ort.js";

/**
 * What `maskdiff-edu export` writes about a network.
 * @typedef {{ file: string, bytes: number, sha256: string }} FileEntry
 * @typedef {{
 *   format: number, name: string, method: string,
 *   inputs: { x_t: [string, number, number, number] },
 *   answers: import("./diffusion.js").Prediction,
 *   noise: import("./noise.js").NoiseKind,
 *   trained_t: [number, number],
 *   schedule: { T: number, alphas_bar: number[] },
 *   detector: { t: number | number[], draws: number, residual: "positive" | "absolute",
 *     postprocessing: import("./anomaly.js").PostProcessing },
 *   threshold: number | null,
 *   graph: FileEntry, weights: FileEntry,
 * }} Manifest
 */
/** @typedef {(loaded: number, total: number) => void} OnProgress bytes over all files */
/**
 * @typedef {{ manifest: Manifest, answer: (xT: Float32Array, t: number) => Promise<Float32Array> }}
 *   Network
 */

const FORMAT = 1; // of the manifest
/** The engine, as data_scripts/third_party.sha256 has it; a test compares. */
export const ENGINE = {
  file: "lab/ort/ort.wasm.packed",
  bytes: 3652765,
  sha256: "9a202915ab712f2ac4504f9fd8c634d244a11e9f9e734361471a1fe6e7f984c0",
};

/**
 * Load a network and make it ready.
 * @param {import("./files.js").Places} places
 * @param {string} name such as "fpm-cm"
 * @param {OnProgress} [onProgress]
 * @returns {Promise<Network>}
 * @throws {Error} for a file that is missing or altered, or a browser without WebAssembly
 */
export async function openNetwork(places, name, onProgress = () => {}) {
  requireWebAssembly();
  const manifest = /** @type {Manifest} */ (
    await loadJson(addressOf(`models/${name}.manifest.json`, places))
  );
  if (manifest.format !== FORMAT) {
    throw new Error(
      `${name}.manifest.json: expected format ${FORMAT}, got ${manifest.format}. Reload the page.`,
    );
  }
  const { graph, weights } = manifest;
  const files = [graph, weights].map((entry) => {
    return { ...entry, url: addressOf(`models/${entry.file}`, places) };
  });
  const engine = { ...ENGINE, url: addressOf(ENGINE.file, places) };
  const isStarted = Boolean(ort.env.wasm.wasmBinary);
  const wanted = isStarted ? files : [...files, engine];
  const [graphBytes, weightBytes, packed] = await loadAll(wanted, onProgress);
  if (packed) await startEngine(packed);
  const session = /** @type {any} */ (await ort.InferenceSession.create(graphBytes, {
    executionProviders: ["wasm"],
    // The graph points into the weights' own file: see detection/export.py.
    externalData: [{ path: weights.file, data: weightBytes }],
  }));
  const [, , h, w] = manifest.inputs.x_t;
  return { manifest, answer: (xT, t) => run(session, xT, t, h, w) };
}

/** Before seven megabytes are loaded in vain. */
function requireWebAssembly() {
  if (typeof WebAssembly !== "object") {
    throw new Error(
      "network: expected a browser with WebAssembly, got one where it is off. Allow it for this " +
        "page, or use another browser.",
    );
  }
}

/**
 * @param {import("./files.js").Wanted[]} files
 * @param {OnProgress} onProgress
 */
function loadAll(files, onProgress) {
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const loaded = files.map(() => 0);
  return Promise.all(
    files.map((file, i) =>
      loadFile(file, (bytes) => {
        loaded[i] = bytes;
        onProgress(Math.min(total, loaded.reduce((a, b) => a + b)), total);
      }),
    ),
  );
}

/** All networks share it. @param {Uint8Array<ArrayBuffer>} packed */
async function startEngine(packed) {
  ort.env.wasm.numThreads = 1; // more need headers that GitHub Pages does not send
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = (await unpack(packed)).buffer;
}

/**
 * One slice through the network.
 * @param {any} session
 * @param {Float32Array} xT h * w pixels
 * @param {number} t
 * @param {number} h
 * @param {number} w
 * @returns {Promise<Float32Array>}
 */
async function run(session, xT, t, h, w) {
  if (xT.length !== h * w) {
    throw new RangeError(`x_t: expected ${h} x ${w} pixels, got ${xT.length}`);
  }
  const { answer } = await session.run({
    x_t: new ort.Tensor("float32", xT, [1, 1, h, w]),
    t: new ort.Tensor("int64", BigInt64Array.of(BigInt(t)), [1]),
  });
  return answer.data.slice(); // its own memory, not the engine's
}
