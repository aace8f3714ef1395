// Voxels and millimetres: affines as 16 numbers, row by row, voxel -> world mm (RAS+).

/** @typedef {number[]} Affine */
/** @typedef {[number, number, number]} Triple */

const MILLIMETRES = new Map([[1, 1000], [3, 0.001]]); // NIfTI's metres and micrometres
const MAX_EXTENT = 1000; // mm along one axis
const MIN_VOXEL = 0.05; // mm

/** Row `r`, column `c` of the first three. @param {Affine} a */
const columns = (a) => [0, 1, 2].map((c) => [a[c], a[4 + c], a[8 + c]]);

/** Length in mm of a step along each voxel axis. @param {Affine} affine */
export function voxelSizes(affine) {
  return /** @type {Triple} */ (columns(affine).map((column) => Math.hypot(...column)));
}

/** Volume of a voxel in mm3, negative for a mirrored grid. @param {Affine} a */
export function determinant(a) {
  return (
    a[0] * (a[5] * a[10] - a[6] * a[9]) - a[1] * (a[4] * a[10] - a[6] * a[8]) + a[2] * (a[4] * a[9] - a[5] * a[8])
  );
}

/** @param {Affine} a @returns {Affine} */
export function inverse(a) {
  const d = determinant(a);
  const cofactor = (/** @type {number} */ r, /** @type {number} */ c) => {
    const [r1, r2, c1, c2] = [(r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3];
    return (a[4 * r1 + c1] * a[4 * r2 + c2] - a[4 * r1 + c2] * a[4 * r2 + c1]) / d;
  };
  const rows = [0, 1, 2].map((r) => {
    const row = [0, 1, 2].map((c) => cofactor(c, r));
    return [...row, -(row[0] * a[3] + row[1] * a[7] + row[2] * a[11])];
  });
  return [...rows.flat(), 0, 0, 0, 1];
}

/** The matrix product: first `b`, then `a`. @param {Affine} a @param {Affine} b @returns {Affine} */
export function times(a, b) {
  return Array.from({ length: 16 }, (_, i) => {
    const [r, c] = [i >> 2, i & 3];
    return [0, 1, 2, 3].reduce((sum, k) => sum + a[4 * r + k] * b[4 * k + c], 0);
  });
}

/** Where a voxel lies, in mm. @param {Affine} a @param {ArrayLike<number>} voxel @returns {Triple} */
export function apply(a, voxel) {
  const at = (/** @type {number} */ r) => a[r] * voxel[0] + a[r + 1] * voxel[1] + a[r + 2] * voxel[2] + a[r + 3];
  return [at(0), at(4), at(8)];
}

/** The same grid, counted from another first voxel. @param {Affine} a @param {ArrayLike<number>} first */
export function movedTo(a, first) {
  const moved = [...a];
  apply(a, first).forEach((mm, r) => (moved[4 * r + 3] = mm));
  return moved;
}

/** The eight corners of a box, voxel numbers. @param {Triple} low @param {Triple} high @returns {Triple[]} */
export function corners(low, high) {
  return Array.from({ length: 8 }, (_, i) => {
    return /** @type {Triple} */ ([0, 1, 2].map((axis) => ((i >> axis) & 1 ? high : low)[axis]));
  });
}

/**
 * How far two affines put a corner of one volume apart at most, in mm.
 * @param {Affine} a @param {Affine} b @param {Triple} shape
 */
export function distance(a, b, shape) {
  const last = /** @type {Triple} */ (shape.map((n) => n - 1));
  const apart = corners([0, 0, 0], last).map((corner) => {
    const [here, there] = [apply(a, corner), apply(b, corner)];
    return Math.hypot(...here.map((mm, i) => mm - there[i]));
  });
  return Math.max(...apart);
}

/** Such as "LAS": where the voxel axes run to. @param {Affine} affine */
export function axisCodes(affine) {
  const free = new Set([0, 1, 2]);
  const steps = columns(affine).map((column, axis) => ({ axis, column, size: Math.hypot(...column) }));
  const codes = ["", "", ""];
  // The clearest axis chooses first.
  steps.sort((a, b) => clarity(b) - clarity(a));
  for (const { axis, column } of steps) {
    const [world] = [...free].sort((a, b) => Math.abs(column[b]) - Math.abs(column[a]));
    free.delete(world);
    codes[axis] = ["LR", "PA", "IS"][world][column[world] > 0 ? 1 : 0];
  }
  return codes.join("");
}

/** @param {{ column: number[], size: number }} step */
function clarity({ column, size }) {
  return Math.max(...column.map(Math.abs)) / size;
}

/**
 * The sform, the qform, or where there is neither what the voxel sizes alone tell; in mm.
 * @param {import("./nifti.js").Header} header
 * @param {Triple} shape
 * @param {(why: string) => Error} fail
 * @returns {Affine[]} the one to use first
 */
export function formsOf(header, shape, fail) {
  const scale = MILLIMETRES.get(header.units & 7) ?? 1;
  const sizes = header.pixdim.slice(1, 4).map((mm) => mm * scale);
  if (!sizes.every((mm) => Number.isFinite(mm) && mm > 0)) {
    throw fail(`expected positive voxel sizes, header says [${sizes.map(decimal).join(", ")}] mm`);
  }
  const told = [];
  if (header.scode > 0) told.push([...header.rows, 0, 0, 0, 1]);
  if (header.qcode > 0) told.push(qform(header));
  const forms = (told.length ? told : [plain(header, shape)]).map((form) =>
    form.map((v, i) => (i < 12 ? v * scale : v)),
  );
  checkForm(forms[0], sizes, shape, fail);
  return forms.filter((form) => form.every(Number.isFinite));
}

/** A number of so many digits as the library writes it: "0.25", "7e-07". @param {number} value @param {number} [digits] */
export function short(value, digits = 6) {
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e").map(Number);
  if (exponent >= -4 && exponent < digits) return String(Number(value.toPrecision(digits)));
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** A number as the library writes it, with a point. @param {number} value */
export function decimal(value) {
  return Number.isInteger(value) ? value.toFixed(1) : String(value).toLowerCase();
}

/** The rotation of a quaternion, the voxel sizes, and the place of the first voxel. @param {import("./nifti.js").Header} header */
function qform({ quaternion, pixdim, offset }) {
  const length = Math.hypot(...quaternion);
  const [b, c, d] = quaternion.map((part) => (length > 1 ? part / length : part));
  const a = Math.sqrt(Math.max(0, 1 - (b * b + c * c + d * d)));
  const [x, y, z] = [pixdim[1], pixdim[2], pixdim[3] * (pixdim[0] < 0 ? -1 : 1)];
  return [
    (a * a + b * b - c * c - d * d) * x, 2 * (b * c - a * d) * y, 2 * (b * d + a * c) * z, offset[0],
    2 * (b * c + a * d) * x, (a * a + c * c - b * b - d * d) * y, 2 * (c * d - a * b) * z, offset[1],
    2 * (b * d - a * c) * x, 2 * (c * d + a * b) * y, (a * a + d * d - b * b - c * c) * z, offset[2],
    0, 0, 0, 1,
  ];
}

/** Axes LAS, the volume's middle at 0: what is left where a header names no orientation.
 * @param {import("./nifti.js").Header} header @param {Triple} shape */
function plain({ pixdim }, shape) {
  const steps = [-pixdim[1], pixdim[2], pixdim[3]];
  return steps.flatMap((step, r) => {
    const row = [0, 0, 0, (-step * (shape[r] - 1)) / 2];
    row[r] = step;
    return row;
  }).concat([0, 0, 0, 1]);
}

/** @param {Affine} affine @param {number[]} sizes @param {Triple} shape @param {(why: string) => Error} fail */
function checkForm(affine, sizes, shape, fail) {
  if (!affine.every(Number.isFinite)) throw fail("expected a finite affine, got NaN or infinity in it");
  const steps = voxelSizes(affine);
  const box = steps.reduce((a, b) => a * b);
  if (Math.abs(determinant(affine)) <= 1e-4 * box) {
    throw fail("expected an affine with an inverse, got a singular one");
  }
  const extent = shape.map((n, i) => n * Math.max(sizes[i], steps[i]));
  if (Math.max(...extent) > MAX_EXTENT) {
    const got = extent.map((mm) => short(mm)).join(" x ");
    throw fail(`expected at most ${MAX_EXTENT} mm an axis, got ${got} mm`);
  }
  const smallest = Math.min(...sizes, ...steps);
  if (smallest < MIN_VOXEL) {
    throw fail(`expected voxels of at least ${MIN_VOXEL} mm, got ${short(smallest, 3)} mm`);
  }
}
