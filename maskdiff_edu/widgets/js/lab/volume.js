// The detector for a whole scan: every slice noised and redrawn, and the map of what differs, as a
// model's card says (MaskedDDPM.detect). Only the random numbers are the page's own.

import { postprocess, residual } from "./anomaly.js";
import { redraw } from "./redraw.js";

/**
 * @typedef {{ images: Float32Array, brain: Uint8Array, size: import("./anomaly.js").Size,
 *   seed: number, noise?: Float32Array[][] }} Scanned slices; `noise`, for each slice one field a
 *   draw, takes the place of the seed's
 * @typedef {{ anomaly: Float32Array, redrawn: Float32Array }} Detected one number a voxel of the
 *   slices, 0 and -1 outside the brain
 */

const SEEDS = 2 ** 16; // slices of one seed; no scan has as many

/**
 * @param {import("./network.js").Network} network
 * @param {Scanned} scanned
 * @param {(done: number, of: number) => void} [onSlice]
 * @param {() => boolean} [isStopped] asked after every slice
 * @returns {Promise<Detected | null>} null if it was stopped
 * @throws {RangeError} for slices of another size than the network takes
 */
export async function detect(network, scanned, onSlice = () => {}, isStopped = () => false) {
  const { images, brain, size, seed, noise } = scanned;
  const { inputs, detector, name } = network.manifest;
  requireSize(size, inputs.x_t);
  const { t, draws } = detector;
  const pixels = size.h * size.w;
  const redrawn = new Float32Array(images.length);
  for (let i = 0; i < size.n; i++) {
    const x0 = images.slice(i * pixels, (i + 1) * pixels);
    const request = { x0, t, draws, seed: seed * SEEDS + i, noise: noise?.[i] };
    redrawn.set((await redraw(network, request)).x0Hat, i * pixels);
    onSlice(i + 1, size.n);
    await aMoment();
    if (isStopped()) return null;
  }
  if (!redrawn.every((v, i) => !brain[i] || Number.isFinite(v))) {
    throw new Error(`${name}: expected finite answers, got NaN or infinity`);
  }
  const values = residual(images, redrawn, detector.residual);
  const anomaly = postprocess(values, brain, size, detector.postprocessing);
  return { anomaly, redrawn: redrawn.map((v, i) => (brain[i] ? v : -1)) };
}

/** @param {import("./anomaly.js").Size} size @param {[string, number, number, number]} taken */
function requireSize({ h, w }, [, , height, width]) {
  if (h === height && w === width) return;
  throw new RangeError(
    `expected a brain that fits into slices of ${height} x ${width} pixels of 2 mm, which the ` +
      `networks in this page take, got one that needs ${h} x ${w}. On your own machine ` +
      "`maskdiff-edu score` takes it.",
  );
}

/** Lets messages in, such as one that says to stop. */
function aMoment() {
  return new Promise((resolve) => setTimeout(resolve));
}
