// Where the brain is in a skull-stripped scan, and whether the skull is really gone: as in
// maskdiff_edu/scans/brain.py. Masks hold 0 and 1, voxels run along the first axis first.

import { determinant, voxelSizes } from "./affine.js";

/** @typedef {import("./affine.js").Affine} Affine */
/** @typedef {import("./affine.js").Triple} Triple */

export const MIN_BRAIN_LITRES = 0.7;
const MAX_BRAIN_LITRES = 2.2;
const MAX_BRAIN_WIDTH = 165; // mm from left to right
const NEARLY_BLACK = 0.1; // of the foreground's median
const MAX_RIM = 0.1; // share of the foreground that may be nearly black before it is a halo
const MIN_PIECE = 0.1; // of the largest piece
const MAX_LOST = 0.01; // share of the foreground that is left out without a word
const MAX_FILLED = 0.7; // of the field of view

/**
 * The brain: voxels that are not 0, without a nearly black rim, large pieces, holes filled.
 * @param {Float32Array} image
 * @param {Triple} shape
 * @returns {Uint8Array}
 */
export function findBrain(image, shape) {
  const inside = new Uint8Array(image.length);
  image.forEach((v, i) => (inside[i] = v ? 1 : 0));
  if (!inside.includes(1)) return inside;
  // In 32 bits, as the library compares.
  const limit = Math.fround(Math.fround(NEARLY_BLACK) * medianSize(image, inside));
  const isBlack = (/** @type {number} */ i) => Math.abs(image[i]) < limit;
  const filled = fillHoles(inside.map((v, i) => (v && !isBlack(i) ? 1 : 0)), shape);
  const isRim = (/** @type {number} */ i) => inside[i] && isBlack(i) && !filled[i];
  let [rim, all] = [0, 0];
  for (let i = 0; i < inside.length; i++) {
    if (isRim(i)) rim += 1;
    all += inside[i];
  }
  const kept = rim > MAX_RIM * all ? inside.map((v, i) => (isRim(i) ? 0 : v)) : inside;
  return fillHoles(largePieces(kept, shape), shape);
}

/** Median of the sizes of what is marked. @param {Float32Array} values @param {Uint8Array} marked */
function medianSize(values, marked) {
  const sizes = values.filter((_, i) => marked[i]).map(Math.abs).sort();
  const middle = sizes.length >> 1;
  return sizes.length % 2 ? sizes[middle] : Math.fround((sizes[middle - 1] + sizes[middle]) / 2);
}

/** Everything but what the outside reaches. @param {Uint8Array} mask @param {Triple} shape */
function fillHoles(mask, shape) {
  const [n, m, k] = shape;
  const outside = new Uint8Array(mask.length);
  const stack = new Stack();
  const enter = (/** @type {number} */ i) => {
    if (mask[i] || outside[i]) return;
    outside[i] = 1;
    stack.push(i);
  };
  for (let z = 0, i = 0; z < k; z++) {
    for (let y = 0; y < m; y++) {
      const isFace = z === 0 || z === k - 1 || y === 0 || y === m - 1;
      for (let x = 0; x < n; x += isFace ? 1 : n - 1) enter(i + x);
      i += n;
    }
  }
  while (stack.size) eachNeighbour(stack.pop(), shape, enter);
  return outside.map((v) => 1 - v);
}

/** Pieces of at least a tenth of the largest. @param {Uint8Array} mask @param {Triple} shape */
function largePieces(mask, shape) {
  const labels = new Int32Array(mask.length);
  const sizes = [0];
  const stack = new Stack();
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i] || labels[i]) continue;
    const label = sizes.push(0) - 1;
    const enter = (/** @type {number} */ at) => {
      if (!mask[at] || labels[at]) return;
      labels[at] = label;
      sizes[label] += 1;
      stack.push(at);
    };
    enter(i);
    while (stack.size) eachNeighbour(stack.pop(), shape, enter);
  }
  const least = MIN_PIECE * sizes.reduce((a, b) => Math.max(a, b));
  return mask.map((_, i) => (labels[i] && sizes[labels[i]] >= least ? 1 : 0));
}

/** The six that share a face. @param {number} i @param {Triple} shape @param {(i: number) => void} visit */
function eachNeighbour(i, [n, m, k], visit) {
  const x = i % n;
  const y = Math.floor(i / n) % m;
  const z = Math.floor(i / (n * m));
  if (x > 0) visit(i - 1);
  if (x < n - 1) visit(i + 1);
  if (y > 0) visit(i - n);
  if (y < m - 1) visit(i + n);
  if (z > 0) visit(i - n * m);
  if (z < k - 1) visit(i + n * m);
}

/** Whole numbers, the newest first; a list of them would take four times the memory. */
class Stack {
  size = 0;
  #values = new Int32Array(1 << 16);
  /** @param {number} value */
  push(value) {
    if (this.size === this.#values.length) {
      const larger = new Int32Array(2 * this.size);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.size++] = value;
  }
  pop() {
    return this.#values[--this.size];
  }
}

/** How much of what is not 0 a found brain lacks, in words. @param {Float32Array} image @param {Uint8Array} brain */
export function signsOfLoss(image, brain) {
  let [lost, all] = [0, 0];
  image.forEach((v, i) => {
    if (!v) return;
    all += 1;
    if (!brain[i]) lost += 1;
  });
  if (lost <= MAX_LOST * all) return null;
  const share = Math.round((100 * lost) / all);
  return `${share}% of what is not 0 was left out, as a nearly black rim or as small pieces`;
}

/** @param {Uint8Array} brain @param {Affine} affine */
export function litresOf(brain, affine) {
  return brain.reduce((a, b) => a + b, 0) * Math.abs(determinant(affine)) * 1e-6;
}

/** What shows that a mask holds more than a brain, in words. @param {Uint8Array} brain @param {Affine} affine @param {Triple} shape */
export function skullSigns(brain, affine, shape) {
  const litres = litresOf(brain, affine);
  if (litres > MAX_BRAIN_LITRES) return `the foreground measures ${litres.toFixed(1)} litres`;
  const filled = brain.reduce((a, b) => a + b, 0) / brain.length;
  if (filled > MAX_FILLED) return `the foreground fills ${Math.round(100 * filled)}% of the volume`;
  const wide = widthOf(brain, affine, shape);
  return wide > MAX_BRAIN_WIDTH ? `the foreground is ${wide.toFixed(0)} mm wide` : null;
}

/** From left to right in mm, in whatever direction the voxel axes run. @param {Uint8Array} brain @param {Affine} affine @param {Triple} shape */
function widthOf(brain, affine, [n, m, k]) {
  let [low, high] = [Infinity, -Infinity];
  for (let z = 0, i = 0; z < k; z++) {
    for (let y = 0; y < m; y++) {
      for (let x = 0; x < n; x++, i++) {
        if (!brain[i]) continue;
        const at = affine[0] * x + affine[1] * y + affine[2] * z;
        if (at < low) low = at;
        if (at > high) high = at;
      }
    }
  }
  return high - low + Math.max(...affine.slice(0, 3).map(Math.abs));
}

/** Such as "0.5 x 0.5 x 2". @param {Affine} affine */
export function sizesInWords(affine) {
  return voxelSizes(affine).map((mm) => Number(mm.toPrecision(3))).join(" x ");
}
