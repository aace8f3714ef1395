// The detector for a whole scan: every slice noised and redrawn, and the map of what differs, as a
// model's card says (MaskedDDPM.detect). Only the random numbers are the page's own.

import { postprocess, residual } from "./anomaly.js";
import { toVolume } from "./prepare.js";

/**
 * @typedef {import("./client.js").Lab} Lab
 * @typedef {import("./prepare.js").Slices} Slices
 * @typedef {Pick<import("./prepare.js").Scan, "brain" | "shape" | "affine">} Place of a scan
 * @typedef {{ anomaly: Float32Array, volume: Float32Array }} Mapped one number a voxel of the
 *   slices, 0 outside the brain; and the same on the scan's own grid
 */
/**
 * @typedef {{ slices: Slices, scan: Place, seed: number, noise?: Float32Array[][] }} Scanned
 *   `noise`, for each slice one field a draw, takes the place of the seed's
 */

const SEEDS = 2 ** 16; // slices of one seed; no scan has as many

/**
 * @param {Lab[]} labs each redraws a slice at a time
 * @param {string} name of the model
 * @param {Scanned} scanned
 * @param {(done: number, of: number) => void} [onSlice]
 * @param {() => boolean} [isStopped] asked before every slice
 * @returns {Promise<Mapped & { redrawn: Float32Array } | null>} null if it was stopped
 * @throws {Error} for slices of another size than the network takes
 */
export async function detect(labs, name, scanned, onSlice = () => {}, isStopped = () => false) {
  const { slices, scan, seed, noise } = scanned;
  const { images, brain, size } = slices;
  // One after the other: what the first one loaded, the browser has kept for the others.
  for (const lab of labs) requireSize(size, (await lab.open(name)).inputs.x_t);
  const { detector } = await labs[0].open(name);
  const pixels = size.h * size.w;
  const redrawn = new Float32Array(images.length);
  let [next, done] = [0, 0];
  await Promise.all(
    labs.map(async (lab) => {
      while (next < size.n && !isStopped()) {
        const i = next++;
        const x0 = images.slice(i * pixels, (i + 1) * pixels);
        const { t, draws } = detector;
        const request = { x0, t, draws, seed: seed * SEEDS + i, noise: noise?.[i] };
        redrawn.set((await lab.redraw(name, request)).x0Hat, i * pixels);
        onSlice(++done, size.n);
      }
    }),
  );
  if (isStopped()) return null;
  if (!redrawn.every((v, i) => !brain[i] || Number.isFinite(v))) {
    throw new Error(`${name}: expected finite answers, got NaN or infinity`);
  }
  return { redrawn, ...(await labs[0].map({ slices, scan, redrawn, detector })) };
}

/**
 * The last step: from the redrawn slices to the map, and to the scan's own grid.
 * @param {{ slices: Slices, scan: Place, redrawn: Float32Array,
 *   detector: import("./network.js").Manifest["detector"] }} request
 * @returns {Mapped}
 */
export function map({ slices, scan, redrawn, detector }) {
  const values = residual(slices.images, redrawn, detector.residual);
  const anomaly = postprocess(values, slices.brain, slices.size, detector.postprocessing);
  return { anomaly, volume: toVolume(anomaly, slices, scan) };
}

/** @param {import("./anomaly.js").Size} size @param {[string, number, number, number]} taken */
function requireSize({ h, w }, [, , height, width]) {
  if (h === height && w === width) return;
  throw new Error(
    `expected a brain that fits into slices of ${height} x ${width} pixels of 2 mm, which the ` +
      `networks in this page take, got one that needs ${h} x ${w}. On your own machine ` +
      "`maskdiff-edu score` takes it.",
  );
}
