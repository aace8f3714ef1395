// Where the brain is in a skull-stripped scan, and whether the skull is really gone: as in
// maskdiff_edu/scans/brain.py. Masks hold 0 and 1, voxels run along the first axis first.

import { determinant, short, voxelSizes } from "./affine.js";
import { boundingBox, cutOut } from "./grids.js";

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
  const found = new Uint8Array(image.length);
  for (let i = 0; i < image.length; i++) found[i] = image[i] ? 1 : 0;
  if (!found.includes(1)) return found;
  const box = framed(boundingBox(found, shape));
  const values = cutOut(image, shape, box);
  const inside = new Uint8Array(cutOut(found, shape, box));
  const kept = fillHoles(largePieces(withoutHalo(values, inside, box.shape), box.shape), box.shape);
  return new Uint8Array(cutOut(kept, box.shape, { first: opposite(box.first), shape }));
}

/** With one voxel of background on each side: so nothing in it has a neighbour outside.
 * @param {import("./grids.js").Box} box @returns {import("./grids.js").Box} */
function framed({ first, shape }) {
  const wider = (/** @type {Triple} */ triple, /** @type {number} */ by) =>
    /** @type {Triple} */ (triple.map((v) => v + by));
  return { first: wider(first, -1), shape: wider(shape, 2) };
}

/** @param {Triple} triple */
function opposite(triple) {
  return /** @type {Triple} */ (triple.map((v) => -v));
}

/** What is left without the nearly black rim, if that is large. @param {Float32Array} image @param {Uint8Array} inside @param {Triple} shape */
function withoutHalo(image, inside, shape) {
  // In 32 bits, as the library compares.
  const limit = Math.fround(Math.fround(NEARLY_BLACK) * medianSize(image, inside));
  const bright = new Uint8Array(inside.length);
  for (let i = 0; i < bright.length; i++) bright[i] = inside[i] && Math.abs(image[i]) >= limit ? 1 : 0;
  const core = fillHoles(bright, shape);
  const kept = new Uint8Array(inside.length);
  let [rim, all] = [0, 0];
  for (let i = 0; i < kept.length; i++) {
    kept[i] = inside[i] & core[i];
    all += inside[i];
    rim += inside[i] - kept[i];
  }
  return rim > MAX_RIM * all ? kept : inside;
}

/** Median of the sizes of what is marked. @param {Float32Array} values @param {Uint8Array} marked */
function medianSize(values, marked) {
  const sizes = values.filter((_, i) => marked[i]).map(Math.abs).sort();
  const middle = sizes.length >> 1;
  return sizes.length % 2 ? sizes[middle] : Math.fround((sizes[middle - 1] + sizes[middle]) / 2);
}

/** All but what the frame reaches. @param {Uint8Array} mask framed by background @param {Triple} shape */
function fillHoles(mask, shape) {
  const filled = mask.map((v) => 1 - v);
  flood(filled, 0, shape); // from row to row it passes the frame, which is one piece anyway
  for (let i = 0; i < mask.length; i++) filled[i] |= mask[i];
  return filled;
}

/** Pieces of at least a tenth of the largest. @param {Uint8Array} mask framed by background @param {Triple} shape */
function largePieces(mask, shape) {
  const left = Uint8Array.from(mask);
  /** @type {Int32Array[]} */
  const pieces = [];
  for (let i = left.indexOf(1); i >= 0; i = left.indexOf(1, i + 1)) pieces.push(flood(left, i, shape));
  const least = MIN_PIECE * pieces.reduce((most, piece) => Math.max(most, piece.length), 0);
  const kept = new Uint8Array(mask.length);
  for (const piece of pieces) if (piece.length >= least) piece.forEach((i) => (kept[i] = 1));
  return kept;
}

/**
 * Takes a voxel and all that hangs together with it, face to face, out of what is marked.
 * @param {Uint8Array} marked changed; its frame is marked all over or nowhere
 * @param {number} first
 * @param {Triple} shape
 * @returns {Int32Array} what was taken out
 */
function flood(marked, first, [n, m]) {
  if (!marked[first]) return new Int32Array();
  let taken = new Int32Array(64);
  let [done, found] = [0, 1];
  taken[0] = first;
  marked[first] = 0;
  const steps = [-1, 1, -n, n, -n * m, n * m];
  while (done < found) {
    const at = taken[done++];
    for (let s = 0; s < 6; s++) {
      const next = at + steps[s];
      if (!marked[next]) continue;
      marked[next] = 0;
      if (found === taken.length) {
        const longer = new Int32Array(4 * found);
        longer.set(taken);
        taken = longer;
      }
      taken[found++] = next;
    }
  }
  return taken.slice(0, found);
}

/** How much of what is not 0 a found brain lacks, in words. @param {Float32Array} image @param {Uint8Array} brain */
export function signsOfLoss(image, brain) {
  let [lost, all] = [0, 0];
  for (let i = 0; i < image.length; i++) {
    if (!image[i]) continue;
    all += 1;
    if (!brain[i]) lost += 1;
  }
  if (lost <= MAX_LOST * all) return null;
  const share = Math.round((100 * lost) / all);
  return `${share}% of what is not 0 was left out, as a nearly black rim or as small pieces`;
}

/** @param {Uint8Array} brain @param {Affine} affine */
export function litresOf(brain, affine) {
  return countOf(brain) * Math.abs(determinant(affine)) * 1e-6;
}

/** @param {Uint8Array} mask */
function countOf(mask) {
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += mask[i];
  return count;
}

/** What shows that a mask holds more than a brain, in words. @param {Uint8Array} brain @param {Affine} affine @param {Triple} shape */
export function skullSigns(brain, affine, shape) {
  const litres = litresOf(brain, affine);
  if (litres > MAX_BRAIN_LITRES) return `the foreground measures ${litres.toFixed(1)} litres`;
  const filled = countOf(brain) / brain.length;
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
  return voxelSizes(affine).map((mm) => short(mm, 3)).join(" x ");
}
