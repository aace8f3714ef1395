// A scan's file in, slices of the 2 mm grid in [-1, 1] out, and a map of them back on the scan's own
// grid: load_scan, to_slices and to_volume of maskdiff_edu/scans/volumes.py, with their words.

import { distance, movedTo, short, voxelSizes } from "./affine.js";
import { MIN_BRAIN_LITRES, findBrain, litresOf, signsOfLoss, sizesInWords, skullSigns } from "./brain.js";
import { antiAlias, boundingBox, boxToSmooth, cutOut, resample, workingGrid } from "./grids.js";
import { readNifti } from "./nifti.js";

/**
 * @typedef {import("./affine.js").Affine} Affine
 * @typedef {import("./affine.js").Triple} Triple
 * @typedef {{ name: string, image: Float32Array, brain: Uint8Array, shape: Triple, affine: Affine }}
 *   Scan on its own grid
 * @typedef {{ images: Float32Array, brain: Uint8Array, size: import("./anomaly.js").Size,
 *   affine: Affine, low: number, high: number }} Slices row 0 is anterior, column 0 the patient's
 *   right; `low` and `high` are the scan's intensities that became -1 and 1
 */

const MAX_BRAIN_EXTENT = 400; // mm; a head with its neck is shorter
const PERCENTILES = [1, 99]; // of the brain's intensities: they become -1 and 1

/**
 * A scan that was checked, its slices, and what the reader should know about it.
 * @param {{ scan: File, mask?: File | null }} files
 * @returns {Promise<{ scan: Scan, slices: Slices, notes: string[] }>}
 * @throws {Error} that says what was expected and got
 */
export async function prepare(files) {
  /** @type {string[]} */
  const notes = [];
  const scan = await loadScan(files.scan, files.mask ?? null, notes);
  return { scan, slices: toSlices(scan), notes };
}

/** @param {File} file @param {File | null} mask @param {string[]} notes @returns {Promise<Scan>} */
async function loadScan(file, mask, notes) {
  const { data: image, shape, affine, forms } = await readNifti(file, { finite: !mask, notes });
  const warn = (/** @type {string} */ of, /** @type {string} */ why) => notes.push(`${of}: ${why}`);
  const source = mask ?? file;
  const given = mask ? await readMask(mask, file.name, shape, forms, notes) : null;
  if (given) keepFinite(file.name, image, given);
  if (image.every((v) => v === image[0])) {
    throw new Error(`${file.name}: expected an image, got the constant ${short(image[0])}`);
  }
  const brain = given ?? findBrain(image, shape);
  const lost = given ? null : signsOfLoss(image, brain);
  if (lost) warn(file.name, `${lost}; give a brain mask if that is wrong`);
  if (!brain.includes(1)) {
    throw new Error(`${source.name}: expected a brain mask that holds voxels, got an empty one`);
  }
  const signs = skullSigns(brain, affine, shape);
  if (signs) {
    warn(source.name, `${signs}; this seems to be no skull-stripped brain; strip it or give a brain mask`);
  }
  const litres = litresOf(brain, affine);
  if (litres < MIN_BRAIN_LITRES) {
    warn(
      source.name,
      `the brain measures ${short(litres, 2)} litres with voxels of ${sizesInWords(affine)} mm; if it is a ` +
        "whole one, the voxel sizes are wrong, and so is the map",
    );
  }
  const name = file.name.slice(0, file.name.toLowerCase().lastIndexOf(".nii"));
  return { name, image, brain, shape, affine };
}

/** @param {File} mask @param {string} scanName @param {Triple} shape @param {Affine[]} forms @param {string[]} notes */
async function readMask(mask, scanName, shape, forms, notes) {
  const read = await readNifti(mask, { notes });
  const words = (/** @type {number[]} */ lengths) => `(${lengths.join(", ")})`;
  const expected = `${mask.name}: expected the grid of ${scanName}`;
  if (words(read.shape) !== words(shape)) {
    throw new Error(`${expected}, shape ${words(shape)}, got ${words(read.shape)}`);
  }
  // Any of the forms: some tools keep only one of the two.
  const apart = Math.min(...forms.map((form) => distance(read.affine, form, shape)));
  if (apart > 0.1 * Math.min(...voxelSizes(read.affine))) {
    throw new Error(`${expected}, got an affine ${apart.toFixed(2)} mm away`);
  }
  const inside = new Uint8Array(read.data.length);
  read.data.forEach((v, i) => (inside[i] = v > 0.5 ? 1 : 0));
  return inside;
}

/** 0 for what is no number outside the brain, as some tools write it. @param {string} name @param {Float32Array} image @param {Uint8Array} brain */
function keepFinite(name, image, brain) {
  let bad = 0;
  for (let i = 0; i < image.length; i++) {
    if (Number.isFinite(image[i])) continue;
    image[i] = 0;
    bad += brain[i];
  }
  if (bad) {
    throw new Error(
      `${name}: expected finite values inside the brain mask, got ${bad} voxels of NaN or infinity`,
    );
  }
}

/** @param {Scan} scan @returns {Slices} */
function toSlices(scan) {
  const fail = (/** @type {string} */ why) => new Error(`${scan.name}: ${why}`);
  const sizes = voxelSizes(scan.affine);
  const extent = Math.max(...boundingBox(scan.brain, scan.shape).shape.map((n, i) => n * sizes[i]));
  if (extent > MAX_BRAIN_EXTENT) {
    throw fail(`expected a brain of at most ${MAX_BRAIN_EXTENT} mm, got ${extent.toFixed(0)}`);
  }
  const box = boxToSmooth(scan.brain, scan);
  const cut = { affine: movedTo(scan.affine, box.first), shape: box.shape };
  const brain = cutOut(scan.brain, scan.shape, box);
  const masked = cutOut(scan.image, scan.shape, box).map((v, i) => v * brain[i]);
  const occupancy = antiAlias(brain, cut);
  const grid = workingGrid(occupancy, cut);
  if (!grid) {
    throw fail(`expected a brain of about a litre, got ${short(litresOf(scan.brain, scan.affine), 2)}`);
  }
  const share = resample(occupancy, cut, grid, { fade: true });
  const total = resample(antiAlias(masked, cut), cut, grid, { fade: true });
  const inside = new Uint8Array(share.map((v) => (v > 0.5 ? 1 : 0)));
  const image = total.map((v, i) => (inside[i] ? v / share[i] : 0));
  const [low, high] = intensityRange(image, inside);
  if (!(high > low)) {
    throw fail(`expected contrast inside the brain, got a range of ${short(low)} to ${short(high)}`);
  }
  const images = image.map((v, i) => {
    return inside[i] ? Math.min(1, Math.max(-1, (v - low) * (2 / (high - low)) - 1)) : -1;
  });
  const [w, h, n] = grid.shape;
  return { images, brain: inside, size: { n, h, w }, affine: grid.affine, low, high };
}

/** @param {Float32Array} image @param {Uint8Array} brain */
function intensityRange(image, brain) {
  const values = image.filter((_, i) => brain[i]).sort();
  return PERCENTILES.map((percent) => {
    const at = (percent / 100) * (values.length - 1);
    const [below, above] = [values[Math.floor(at)], values[Math.ceil(at)]];
    return below + (above - below) * (at - Math.floor(at));
  });
}

/**
 * A map of the slices on the scan's own grid, by linear interpolation. Inside the brain only brain
 * voxels are averaged, so that the rim is not mixed with the background.
 * @param {Float32Array} values one a voxel of the slices
 * @param {Pick<Slices, "brain" | "size" | "affine">} slices
 * @param {Pick<Scan, "brain" | "shape" | "affine">} scan
 */
export function toVolume(values, { brain: inside, size, affine }, scan) {
  /** @type {import("./grids.js").Grid} */
  const working = { affine, shape: [size.w, size.h, size.n] };
  const volume = resample(values, working, scan);
  const box = boundingBox(scan.brain, scan.shape);
  const cut = { affine: movedTo(scan.affine, box.first), shape: box.shape };
  const weight = resample(new Float32Array(inside), working, cut, { fade: true });
  const total = resample(values.map((v, i) => v * inside[i]), working, cut, { fade: true });
  const [n, m] = scan.shape;
  const [a, b] = box.shape;
  weight.forEach((share, i) => {
    const [x, y, z] = [i % a, Math.floor(i / a) % b, Math.floor(i / (a * b))];
    const at = ((z + box.first[2]) * m + y + box.first[1]) * n + x + box.first[0];
    if (scan.brain[at] && share > 1e-3) volume[at] = total[i] / share;
  });
  return volume;
}
