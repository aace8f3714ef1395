// From a scan's own grid to the 2 mm working grid and back: as in maskdiff_edu/scans/grids.py.
// Voxels run along the first axis first, so a working volume (w, h, n) is a stack of n slices.

import { apply, corners, inverse, movedTo, times, voxelSizes } from "./affine.js";

/**
 * @typedef {import("./affine.js").Affine} Affine
 * @typedef {import("./affine.js").Triple} Triple
 * @typedef {{ affine: Affine, shape: Triple }} Grid
 * @typedef {{ first: Triple, shape: Triple }} Box
 */

const WORKING_MM = 2;
export const IN_PLANE = 96; // rows and columns of a slice, unless the brain is larger
const FWHM = 2 * Math.sqrt(2 * Math.log(2)); // full width at half maximum of a Gaussian of sigma 1

/** Axes LPS, voxel (0, 0, 0) at `origin`. @param {Triple} origin @returns {Affine} */
function workingAffine([x, y, z]) {
  return [-WORKING_MM, 0, 0, x, 0, -WORKING_MM, 0, y, 0, 0, WORKING_MM, z, 0, 0, 0, 1];
}

/** The smallest box that holds all of a region, which holds something. @param {Uint8Array} region @param {Triple} shape @returns {Box} */
export function boundingBox(region, [n, m, k]) {
  const low = [n, m, k];
  const high = [-1, -1, -1];
  for (let z = 0, i = 0; z < k; z++) {
    for (let y = 0; y < m; y++) {
      for (let x = 0; x < n; x++, i++) {
        if (!region[i]) continue;
        if (x < low[0]) low[0] = x;
        if (x > high[0]) high[0] = x;
        if (y < low[1]) low[1] = y;
        if (y > high[1]) high[1] = y;
        if (z < low[2]) low[2] = z;
        if (z > high[2]) high[2] = z;
      }
    }
  }
  return { first: /** @type {Triple} */ (low), shape: /** @type {Triple} */ (high.map((v, i) => v - low[i] + 1)) };
}

/** A region's box with room for smoothing around it. @param {Uint8Array} region @param {Grid} grid @returns {Box} */
export function boxToSmooth(region, { shape, affine }) {
  const box = boundingBox(region, shape);
  const room = smoothing(affine).map((sigma) => Math.ceil(4 * sigma) + 1);
  const first = box.first.map((start, i) => Math.max(start - room[i], 0));
  const end = box.first.map((start, i) => Math.min(start + box.shape[i] + room[i], shape[i]));
  return { first: /** @type {Triple} */ (first), shape: /** @type {Triple} */ (end.map((v, i) => v - first[i])) };
}

/**
 * What lies in a box, as 32-bit numbers; `outside` where the box leaves the volume.
 * @param {ArrayLike<number>} values @param {Triple} size @param {Box} box @param {number} [outside]
 */
export function cutOut(values, size, { first, shape }, outside = 0) {
  const cut = new Float32Array(shape[0] * shape[1] * shape[2]).fill(outside);
  const range = [0, 1, 2].map((i) => [Math.max(0, -first[i]), Math.min(shape[i], size[i] - first[i])]);
  for (let z = range[2][0]; z < range[2][1]; z++) {
    for (let y = range[1][0]; y < range[1][1]; y++) {
      const from = ((z + first[2]) * size[1] + y + first[1]) * size[0] + first[0];
      const to = (z * shape[1] + y) * shape[0];
      for (let x = range[0][0]; x < range[0][1]; x++) cut[to + x] = values[from + x];
    }
  }
  return cut;
}

/** Sigmas in voxels that widen a voxel's response to that of a 2 mm one. @param {Affine} affine */
function smoothing(affine) {
  return voxelSizes(affine).map((mm) => Math.sqrt(Math.max((WORKING_MM / mm) ** 2 - 1, 0)) / FWHM);
}

/**
 * Smoothed so that sampling at 2 mm does not alias; beyond the volume lies 0.
 * @param {Float32Array} values @param {Grid} grid
 */
export function antiAlias(values, { affine, shape }) {
  let smooth = values;
  const steps = [1, shape[0], shape[0] * shape[1]];
  smoothing(affine).forEach((sigma, axis) => {
    if (sigma > 1e-15) smooth = blurAlong(smooth, sigma, shape[axis], steps[axis]);
  });
  return smooth;
}

/** @param {Float32Array} values @param {number} sigma @param {number} length @param {number} step */
function blurAlong(values, sigma, length, step) {
  const reach = Math.floor(4 * sigma + 0.5);
  const half = Array.from({ length: reach + 1 }, (_, i) => Math.exp((-0.5 * i * i) / sigma ** 2));
  const total = 2 * half.reduce((a, b) => a + b, 0) - 1;
  const kernel = Float64Array.from(half, (v) => v / total);
  const blurred = new Float32Array(values.length);
  const line = new Float64Array(length + 2 * reach); // with the zeros around it
  for (let block = 0; block < values.length; block += length * step) {
    for (let start = block; start < block + step; start++) {
      for (let i = 0; i < length; i++) line[reach + i] = values[start + i * step];
      for (let i = 0; i < length; i++) {
        let sum = kernel[0] * line[reach + i];
        for (let k = 1; k <= reach; k++) sum += kernel[k] * (line[reach + i - k] + line[reach + i + k]);
        blurred[start + i * step] = sum;
      }
    }
  }
  return blurred;
}

/**
 * Linear interpolation at the voxel centres of another grid. Where the grids share their centres
 * the values are copied. Beyond the outer centres comes `outside`, with `fade` over one voxel.
 * @param {Float32Array} values @param {Grid} from @param {Grid} to
 * @param {{ outside?: number, fade?: boolean }} [how]
 */
export function resample(values, from, to, { outside = 0, fade = false } = {}) {
  const matrix = times(inverse(from.affine), to.affine).map((v, i) => {
    const tolerance = i % 4 === 3 ? 1e-3 : 1e-5; // of a voxel: rounding of a stored affine
    return Math.abs(v - Math.round(v)) < tolerance ? Math.round(v) : v;
  });
  const isShift = matrix.every((v, i) => (i % 4 === 3 ? Number.isInteger(v) : v === (i % 5 ? 0 : 1)));
  if (isShift) {
    const first = /** @type {Triple} */ ([matrix[3], matrix[7], matrix[11]]);
    return cutOut(values, from.shape, { first, shape: to.shape }, outside);
  }
  return interpolate(values, from.shape, matrix, to.shape, { outside, fade });
}

/** @param {Float32Array} values @param {Triple} size @param {number[]} matrix @param {Triple} shape @param {{ outside: number, fade: boolean }} how */
function interpolate(values, [n, m, k], matrix, shape, { outside, fade }) {
  const reach = fade ? 1 : 0; // voxels beyond the outer centres that still count
  const found = new Float32Array(shape[0] * shape[1] * shape[2]).fill(outside);
  const [mx, my, mz] = [0, 4, 8].map((row) => matrix.slice(row, row + 4));
  const value = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ z) =>
    x < 0 || y < 0 || z < 0 || x >= n || y >= m || z >= k ? outside : values[(z * m + y) * n + x];
  for (let c = 0, at = 0; c < shape[2]; c++) {
    for (let b = 0; b < shape[1]; b++) {
      for (let a = 0; a < shape[0]; a++, at++) {
        const x = mx[3] + mx[0] * a + mx[1] * b + mx[2] * c;
        const y = my[3] + my[0] * a + my[1] * b + my[2] * c;
        const z = mz[3] + mz[0] * a + mz[1] * b + mz[2] * c;
        if (x < -reach || y < -reach || z < -reach) continue;
        if (x > n - 1 + reach || y > m - 1 + reach || z > k - 1 + reach) continue;
        const x0 = Math.floor(x);
        const y0 = Math.floor(y);
        const z0 = Math.floor(z);
        const fx = x - x0;
        const fy = y - y0;
        const fz = z - z0;
        let below; // at z0, and at the next z
        let above;
        if (x0 >= 0 && y0 >= 0 && z0 >= 0 && x0 < n - 1 && y0 < m - 1 && z0 < k - 1) {
          const i = (z0 * m + y0) * n + x0; // all eight are there: the common case, and quick
          const j = i + n * m;
          below = square(values[i], values[i + 1], values[i + n], values[i + n + 1], fx, fy);
          above = square(values[j], values[j + 1], values[j + n], values[j + n + 1], fx, fy);
        } else {
          const four = (/** @type {number} */ at) =>
            square(value(x0, y0, at), value(x0 + 1, y0, at), value(x0, y0 + 1, at), value(x0 + 1, y0 + 1, at), fx, fy);
          below = four(z0);
          above = four(z0 + 1);
        }
        found[at] = below + (above - below) * fz;
      }
    }
  }
  return found;
}

/** Between four corners. @param {number} a @param {number} b @param {number} c @param {number} d @param {number} x @param {number} y */
function square(a, b, c, d, x, y) {
  const first = a + (b - a) * x;
  return first + (c + (d - c) * x - first) * y;
}

/**
 * The working grid around a brain; null if none of it is left. Voxel centres fall on a centre of
 * the scan. The brain's box is centred in a square of 96 voxels, or of the next multiple of 16;
 * along z the grid spans exactly the slices that hold brain.
 * @param {Float32Array} occupancy the smoothed brain mask
 * @param {Grid} grid
 * @returns {Grid | null}
 */
export function workingGrid(occupancy, grid) {
  const { affine, shape } = grid;
  const lattice = workingAffine(apply(affine, shape.map((n) => n >> 1)));
  const toLattice = times(inverse(lattice), affine);
  const reached = corners([-1, -1, -1], shape).map((corner) => apply(toLattice, corner));
  const low = [0, 1, 2].map((i) => Math.floor(Math.min(...reached.map((at) => at[i]))));
  const high = [0, 1, 2].map((i) => Math.ceil(Math.max(...reached.map((at) => at[i]))));
  const start = movedTo(lattice, low);
  const span = /** @type {Triple} */ (high.map((v, i) => v - low[i] + 1));
  const share = resample(occupancy, grid, { affine: start, shape: span }, { fade: true });
  const brain = new Uint8Array(share.map((v) => (v > 0.5 ? 1 : 0)));
  if (!brain.includes(1)) return null;
  const box = boundingBox(brain, span);
  const side = Math.max(IN_PLANE, 16 * Math.ceil(Math.max(box.shape[0], box.shape[1]) / 16));
  const first = box.first.map((v, i) => (i < 2 ? Math.floor((2 * v + box.shape[i] - side) / 2) : v));
  return { affine: movedTo(start, first), shape: [side, side, box.shape[2]] };
}
