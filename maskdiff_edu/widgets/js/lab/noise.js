// The noise that is added, as in maskdiff_edu/diffusion/noise.py.

import { fft2 } from "./fourier.js";
import { normals } from "./random.js";

/** @typedef {import("./random.js").Random} Random */
/** @typedef {"fractal" | "gaussian" | "none"} NoiseKind */
/** @typedef {{ count: number, persistence: number, basePeriod: number }} Octaves */

/** Those of the library: of AnoDDPM's simplex noise. @type {Octaves} */
export const OCTAVES = { count: 6, persistence: 0.8, basePeriod: 64 };

/**
 * One field of noise, of variance 1.
 * @param {NoiseKind} kind what the network was trained with
 * @param {number} h
 * @param {number} w
 * @param {Random} random
 * @returns {Float32Array} h * w numbers, row by row
 * @throws {RangeError} for an unknown kind
 */
export function drawNoise(kind, h, w, random) {
  switch (kind) {
    case "fractal":
      return colour(normals(random, h * w), h, w);
    case "gaussian":
      return new Float32Array(normals(random, h * w));
    case "none":
      return new Float32Array(h * w);
  }
  throw new RangeError(`noise: expected "fractal", "gaussian" or "none", got "${kind}"`);
}

/**
 * White noise made fractal: every frequency times the root of the octaves' power there.
 * @param {ArrayLike<number>} white h * w numbers
 * @param {number} h
 * @param {number} w
 * @param {Octaves} [octaves]
 * @returns {Float32Array}
 */
export function colour(white, h, w, octaves = OCTAVES) {
  const spectrum = fft2({ re: new Float64Array(white), im: new Float64Array(h * w) }, h, w);
  const gain = gainOf(h, w, octaves);
  for (let i = 0; i < h * w; i++) {
    spectrum.re[i] *= gain[i];
    spectrum.im[i] *= gain[i];
  }
  return new Float32Array(fft2(spectrum, h, w, true).re); // real: the power is that of -k too
}

/** Roots of powers, since every draw of a size takes the same. @type {Map<string, Float64Array>} */
const gains = new Map();

/** @param {number} h @param {number} w @param {Octaves} octaves */
function gainOf(h, w, octaves) {
  const key = [h, w, octaves.count, octaves.persistence, octaves.basePeriod].join();
  const gain = gains.get(key) ?? octaveSpectrum(h, w, octaves).map(Math.sqrt);
  gains.set(key, gain);
  return gain;
}

/**
 * Power of the fractal noise at every frequency, unshifted, of mean 1.
 * @param {number} h
 * @param {number} w
 * @param {Octaves} [octaves]
 * @returns {Float64Array} h * w numbers
 */
export function octaveSpectrum(h, w, octaves = OCTAVES) {
  const squares = Float64Array.from({ length: h * w }, (_, i) => {
    return frequency(Math.floor(i / w), h) ** 2 + frequency(i % w, w) ** 2;
  });
  const total = new Float64Array(h * w);
  for (let k = 0; k < octaves.count; k++) {
    const size = ((2 * octaves.basePeriod) / 2 ** k) ** 2;
    const ring = squares.map((square) => square * size * Math.exp(-square * size));
    const share = octaves.persistence ** (2 * k) / mean(ring);
    ring.forEach((power, i) => (total[i] += share * power));
  }
  const whole = mean(total);
  return total.map((power) => power / whole);
}

/** Cycles a pixel of bin `i` among `n`. @param {number} i @param {number} n */
function frequency(i, n) {
  return (i < n / 2 ? i : i - n) / n;
}

/** @param {Float64Array} values */
function mean(values) {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
