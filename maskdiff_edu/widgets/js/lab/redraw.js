// The detector for one slice: noise it, let the network redraw it, average a few draws
// (MaskedDDPM.reconstruct). Only the random numbers are the page's own.

import { addNoise, toX0 } from "./diffusion.js";
import { drawNoise } from "./noise.js";
import { makeRandom } from "./random.js";

/**
 * @typedef {{
 *   x0: Float32Array,
 *   t: number | number[],
 *   draws: number,
 *   seed: number,
 *   noise?: Float32Array[],
 * }} Request a slice in [-1, 1], how far to noise it, draws at each t; `noise`, one field a draw,
 *   takes the place of the seed's
 * @typedef {{ xT: Float32Array, x0Hat: Float32Array }} Redrawn the first draw's noised slice, and
 *   the mean of what the network drew
 */

/**
 * @param {import("./network.js").Network} network
 * @param {Request} request
 * @returns {Promise<Redrawn>}
 * @throws {RangeError} for a t outside the schedule, or no draw
 */
export async function redraw({ manifest, answer }, { x0, t, draws, seed, noise }) {
  const times = [t].flat().flatMap((time) => Array(Math.max(0, draws)).fill(time));
  requireTimes(times, manifest.schedule.T);
  const [, , h, w] = manifest.inputs.x_t;
  const random = makeRandom(seed);
  const total = new Float64Array(x0.length);
  let first = null;
  for (const [i, time] of times.entries()) {
    const alphaBar = manifest.schedule.alphas_bar[time];
    const eps = noise?.[i] ?? drawNoise(manifest.noise, h, w, random);
    const xT = addNoise(x0, eps, alphaBar);
    first ??= xT;
    const x0Hat = toX0(manifest.answers, await answer(xT, time), xT, alphaBar);
    for (let at = 0; at < total.length; at++) total[at] += x0Hat[at];
  }
  const x0Hat = new Float32Array(total.map((v) => v / times.length));
  return { xT: /** @type {Float32Array} */ (first), x0Hat };
}

/** @param {number[]} times @param {number} T */
function requireTimes(times, T) {
  const bad = times.find((time) => !Number.isInteger(time) || time < 0 || time >= T);
  if (!times.length || bad !== undefined) {
    throw new RangeError(`t: expected one draw or more, at whole numbers in 0..${T - 1}, got ${bad}`);
  }
}
