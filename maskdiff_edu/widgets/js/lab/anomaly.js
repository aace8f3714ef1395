// From a scan and its redrawn twin to a map: as in maskdiff_edu/detection/anomaly.py.
// A stack holds n slices of h x w pixels, one after the other; brain masks hold 0 and 1.

import { countDetected, medianFilter } from "../maths.js";

/** @typedef {{ n: number, h: number, w: number }} Size */
/**
 * As a model's card has them; what is missing is off.
 * @typedef {{ erosions: number, median_size: number, gaussian_sigma: number,
 *   guided_radius?: number, rim?: number }} PostProcessing
 */

/**
 * How far a scan departs from its reconstruction, pixel by pixel.
 * @param {Float32Array} x
 * @param {Float32Array} x0Hat
 * @param {"positive" | "absolute"} kind only what is brighter than the twin, or darker too
 * @returns {Float32Array} 0 or more
 */
export function residual(x, x0Hat, kind) {
  if (kind !== "positive" && kind !== "absolute") {
    throw new RangeError(`residual: expected "positive" or "absolute", got "${kind}"`);
  }
  return x.map((v, i) => (kind === "positive" ? Math.max(v - x0Hat[i], 0) : Math.abs(v - x0Hat[i])));
}

/**
 * The anomaly map: filtered, and 0 outside the eroded brain (anomaly.postprocess).
 * @param {Float32Array} values raw scores, n * h * w
 * @param {Uint8Array} brain
 * @param {Size} size
 * @param {PostProcessing} settings
 * @returns {Float32Array}
 * @throws {RangeError} for the guided filter and the rim, which no shipped card asks for
 */
export function postprocess(values, brain, size, settings) {
  if (settings.guided_radius || settings.rim) {
    throw new RangeError("postprocessing: expected no guided_radius and no rim, got one of them");
  }
  const median = medianStack(values, brain, size, settings.median_size);
  const smooth = gaussianFilter(median, brain, size, settings.gaussian_sigma);
  const kept = erodeBrain(brain, size, settings.erosions);
  return smooth.map((v, i) => (kept[i] ? v : 0));
}

/**
 * A median over a cube in which only brain voxels vote.
 * @param {Float32Array} values
 * @param {Uint8Array} brain
 * @param {Size} size
 * @param {number} edge of the cube in voxels, odd; 1 only sets the outside to 0
 * @returns {Float32Array}
 */
function medianStack(values, brain, { n, h, w }, edge) {
  if (edge === 1) return values.map((v, i) => (brain[i] ? v : 0));
  const filtered = new Float32Array(values.length);
  for (let i = 0; i < n; i++) filtered.set(medianFilter(values, brain, i, h, w, edge), i * h * w);
  return filtered;
}

/**
 * A Gaussian mean in three dimensions in which only brain voxels count (anomaly.gaussian_filter).
 * Of a single slice it is the mean within the slice.
 * @param {Float32Array} values
 * @param {Uint8Array} brain
 * @param {Size} size
 * @param {number} sigma in voxels; 0 only sets the outside to 0
 * @returns {Float32Array} 0 outside the brain
 */
export function gaussianFilter(values, brain, size, sigma) {
  const inside = values.map((v, i) => (brain[i] ? v : 0));
  if (sigma === 0) return inside;
  const sums = blur(new Float64Array(inside), size, sigma);
  const weights = blur(new Float64Array(brain), size, sigma);
  return inside.map((_, i) => (brain[i] ? sums[i] / weights[i] : 0));
}

/**
 * Three passes of a Gaussian that ends 4 sigma out, as SciPy's; beyond the stack lies 0.
 * @param {Float64Array} values
 * @param {Size} size
 * @param {number} sigma
 */
function blur(values, { n, h, w }, sigma) {
  const kernel = gaussianKernel(sigma);
  let blurred = values;
  for (const [length, step] of [[n, h * w], [h, w], [w, 1]]) {
    if (length > 1) blurred = blurAlong(blurred, kernel, length, step);
    else blurred = blurred.map((v) => v * kernel[0]); // only the middle falls on something
  }
  return blurred;
}

/** Its weights from the middle outwards. @param {number} sigma */
function gaussianKernel(sigma) {
  const reach = Math.floor(4 * sigma + 0.5);
  const half = Array.from({ length: reach + 1 }, (_, i) => Math.exp((-0.5 * i * i) / sigma ** 2));
  const total = 2 * half.reduce((a, b) => a + b, 0) - 1; // half[0] is 1 and counts once
  return half.map((v) => v / total);
}

/**
 * @param {Float64Array} values
 * @param {number[]} kernel
 * @param {number} length of the axis, voxels
 * @param {number} step from one voxel of the axis to the next
 */
function blurAlong(values, kernel, length, step) {
  return values.map((v, i) => {
    const at = Math.floor(i / step) % length;
    let sum = kernel[0] * v;
    for (let k = 1; k < kernel.length; k++) {
      if (at >= k) sum += kernel[k] * values[i - k * step];
      if (at + k < length) sum += kernel[k] * values[i + k * step];
    }
    return sum;
  });
}

/**
 * Voxels off the brain's surface in three dimensions (anomaly.erode_brain). Beyond the first and
 * last slice the brain goes on; beyond rows and columns lies background.
 * @param {Uint8Array} brain
 * @param {Size} size
 * @param {number} iterations
 * @returns {Uint8Array}
 */
export function erodeBrain(brain, { n, h, w }, iterations) {
  let eroded = Uint8Array.from(brain);
  for (let i = 0; i < iterations; i++) {
    const before = eroded;
    eroded = before.map((v, at) => {
      const [z, r, c] = [Math.floor(at / (h * w)), Math.floor(at / w) % h, at % w];
      const isInner = r > 0 && r < h - 1 && c > 0 && c < w - 1;
      if (!v || !isInner) return 0;
      const above = z === 0 || before[at - h * w];
      const below = z === n - 1 || before[at + h * w];
      return above && below && before[at - 1] && before[at + 1] && before[at - w] && before[at + w];
    });
  }
  return eroded;
}

/**
 * What lies strictly above a threshold, and how it meets the lesion: Dice, precision, recall.
 * @param {Float32Array} scores
 * @param {Uint8Array} lesion
 * @param {Uint8Array} brain
 * @param {number} threshold made a 32-bit number first, as the library compares it
 */
export function scoreAt(scores, lesion, brain, threshold) {
  return countDetected(scores, lesion, brain, Math.fround(threshold));
}
