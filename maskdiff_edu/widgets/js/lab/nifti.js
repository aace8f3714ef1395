// NIfTI files, read and written in the page: as in maskdiff_edu/scans/nifti.py, with its words.
// Of a kept reader little would be left: the checks come before a voxel takes memory, on the raw
// numbers of the header, and the browser itself opens gzip. Voxels run along the first axis first.

import { axisCodes, decimal, distance, formsOf, voxelSizes } from "./affine.js";

/**
 * @typedef {[number, number, number]} Shape
 * @typedef {import("./affine.js").Affine} Affine
 * @typedef {{ data: Float32Array, shape: Shape, affine: Affine, forms: Affine[] }} Volume
 *   `affine` is the first of the forms that the header tells, voxel -> world mm (RAS+)
 */

const MAX_VOXELS = 2 ** 27;
const MAX_RATIO = 1032; // of gzip: a byte never stands for more
/** Bytes of a voxel and how to read it, by the standard's code of its type.
 * @type {Record<number, [number, (view: DataView, at: number, little: boolean) => number]>} */
const TYPES = {
  2: [1, (view, at) => view.getUint8(at)],
  4: [2, (view, at, little) => view.getInt16(at, little)],
  8: [4, (view, at, little) => view.getInt32(at, little)],
  16: [4, (view, at, little) => view.getFloat32(at, little)],
  64: [8, (view, at, little) => view.getFloat64(at, little)],
  256: [1, (view, at) => view.getInt8(at)],
  512: [2, (view, at, little) => view.getUint16(at, little)],
  768: [4, (view, at, little) => view.getUint32(at, little)],
  1024: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  1280: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
};

/**
 * One 3-D volume of a `.nii` or `.nii.gz` file.
 * @param {File} file
 * @param {{ finite?: boolean, notes?: string[] }} [how] `finite`: refuse NaN; `notes` takes warnings
 * @returns {Promise<Volume>}
 * @throws {Error} for anything truncated, not NIfTI, not one 3-D volume, not finite
 */
export async function readNifti(file, { finite = true, notes = [] } = {}) {
  const fail = (/** @type {string} */ why) => new Error(`${file.name}: ${why}`);
  if (!/\.nii(\.gz)?$/i.test(file.name)) throw fail("expected a file ending in .nii or .nii.gz");
  const isPacked = /\.gz$/i.test(file.name);
  const source = file.size ? bytesOf(file, isPacked) : null;
  try {
    const head = source ? await source.take(540) : new Uint8Array();
    const header = parsed(head, fail);
    const shape = checkedShape(header.dim, fail);
    const forms = formsOf(header, shape, fail);
    noteOrientation(file.name, header, forms, shape, notes);
    if (!TYPES[header.type]) {
      throw fail(`expected real numbers, got voxels of type code ${header.type}`);
    }
    const wanted = shape.reduce((a, b) => a * b) * TYPES[header.type][0];
    const most = file.size * (isPacked ? MAX_RATIO : 1) - header.start; // before memory is taken
    if (most < wanted) throw new Error(`${Math.max(0, most)} bytes of ${wanted}`);
    const content = await source?.takeFrom(header.start, wanted, head);
    const data = voxels(/** @type {Uint8Array} */ (content), header);
    let bad = 0;
    for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) bad += 1;
    if (bad && finite) {
      throw fail(
        `expected finite values, got ${bad} voxels of NaN or infinity; outside of a brain mask ` +
          "that is given they do not matter",
      );
    }
    return { data, shape, affine: forms[0], forms };
  } catch (error) {
    throw inOurWords(file.name, error, fail);
  } finally {
    source?.close();
  }
}

/** @param {string} name @param {any} error @param {(why: string) => Error} fail */
function inOurWords(name, error, fail) {
  const message = error instanceof Error ? error.message : String(error);
  if (message.startsWith(`${name}: `)) return error;
  if (error instanceof RangeError) return fail("expected a volume that fits into memory, got no more");
  return fail(`expected a NIfTI file that can be read, got a broken file (${message})`);
}

/** The file's bytes in order, unpacked as they are asked for. @param {File} file @param {boolean} isPacked */
function bytesOf(file, isPacked) {
  const whole = file.stream();
  const stream = isPacked ? whole.pipeThrough(new DecompressionStream("gzip")) : whole;
  const reader = stream.getReader();
  let left = new Uint8Array();
  async function more() {
    const { done, value } = await reader.read();
    left = value ?? new Uint8Array();
    return !done;
  }
  /** @param {number} n @param {(part: Uint8Array, at: number) => void} use */
  async function each(n, use) {
    let at = 0;
    while (at < n && (left.length || (await more()))) {
      const part = left.subarray(0, n - at);
      use(part, at);
      at += part.length;
      left = left.subarray(part.length);
    }
    return at;
  }
  return {
    /** At most so many bytes. @param {number} n */
    take: async (n) => {
      const taken = new Uint8Array(n);
      return taken.subarray(0, await each(n, (part, at) => taken.set(part, at)));
    },
    /** All of the bytes from a place on; `head` was taken before. @param {number} start @param {number} n @param {Uint8Array} head */
    takeFrom: async (start, n, head) => {
      const skip = Math.max(0, start - head.length);
      if ((await each(skip, () => {})) < skip) throw new Error("the header alone");
      const known = head.subarray(start, start + n);
      const taken = new Uint8Array(n);
      taken.set(known);
      const got = await each(n - known.length, (part, at) => taken.set(part, known.length + at));
      if (known.length + got < n) throw new Error(`${known.length + got} bytes of ${n}`);
      await each(1, () => {}); // reaching the end makes gzip check its checksum
      return taken;
    },
    close: () => reader.cancel().catch(() => {}),
  };
}

/**
 * @typedef {{ little: boolean, dim: number[], type: number, pixdim: number[], start: number,
 *   slope: number, inter: number, units: number, qcode: number, scode: number, quaternion: number[],
 *   offset: number[], rows: number[] }} Header
 */

/** @param {Uint8Array} head @param {(why: string) => Error} fail @returns {Header} */
function parsed(head, fail) {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  for (const little of [true, false]) {
    for (const { size, magic, at, magicAt, first, read } of KINDS) {
      if (head.length < size || view.getInt32(0, little) !== size) continue;
      const found = String.fromCharCode(...head.subarray(magicAt, magicAt + 3));
      if (found !== magic) continue;
      /** @type {Record<string, number[]>} */
      const values = {};
      for (const [name, [place, kind, count]] of Object.entries(at)) {
        const step = Number(kind.slice(1)) / 8;
        values[name] = Array.from({ length: count }, (_, i) => read(view, place + i * step, kind, little));
      }
      const [start] = values.start;
      if (!(start === 0 || (start >= first - 4 && start < 2 ** 31))) {
        throw fail(`expected the voxels' place in the file, from ${first} on, header says ${decimal(start)}`);
      }
      const { dim, pixdim, quaternion, offset, rows } = values;
      const one = (/** @type {string} */ name) => values[name][0];
      return {
        little, dim, pixdim, quaternion, offset, rows, start: Math.trunc(start) || first,
        type: one("type"), slope: one("slope"), inter: one("inter"), units: one("units"),
        qcode: one("qcode"), scode: one("scode"),
      };
    }
  }
  const got = head.length < 348 ? `${head.length} bytes` : "another format";
  throw fail(`expected a NIfTI header, got ${got}`);
}

/** @param {DataView} view @param {number} at @param {string} kind @param {boolean} little */
function read(view, at, kind, little) {
  if (kind === "u8") return view.getUint8(at);
  if (kind === "i16") return view.getInt16(at, little);
  if (kind === "i32") return view.getInt32(at, little);
  if (kind === "i64") return Number(view.getBigInt64(at, little));
  return kind === "f32" ? view.getFloat32(at, little) : view.getFloat64(at, little);
}

/** Where the fields lie: byte, type, how many. NIfTI-1 and -2 differ in nothing else.
 * @type {{ size: number, magic: string, magicAt: number, first: number, read: typeof read,
 *   at: Record<string, [number, string, number]> }[]} */
const KINDS = [
  {
    size: 348, magic: "n+1", magicAt: 344, first: 352, read,
    at: {
      dim: [40, "i16", 8], type: [70, "i16", 1], pixdim: [76, "f32", 8], start: [108, "f32", 1],
      slope: [112, "f32", 1], inter: [116, "f32", 1], units: [123, "u8", 1], qcode: [252, "i16", 1],
      scode: [254, "i16", 1], quaternion: [256, "f32", 3], offset: [268, "f32", 3], rows: [280, "f32", 12],
    },
  },
  {
    size: 540, magic: "n+2", magicAt: 4, first: 544, read,
    at: {
      dim: [16, "i64", 8], type: [12, "i16", 1], pixdim: [104, "f64", 8], start: [168, "i64", 1],
      slope: [176, "f64", 1], inter: [184, "f64", 1], units: [500, "i32", 1], qcode: [344, "i32", 1],
      scode: [348, "i32", 1], quaternion: [352, "f64", 3], offset: [376, "f64", 3], rows: [400, "f64", 12],
    },
  },
];

/** @param {number[]} dim @param {(why: string) => Error} fail @returns {Shape} */
function checkedShape([axes, ...lengths], fail) {
  if (!(axes >= 1 && axes <= 7)) throw fail(`expected 3 axes in the header, got ${axes}`);
  const shape = lengths.slice(0, axes);
  const words = `(${shape.join(", ")}${axes === 1 ? "," : ""})`;
  if (Math.min(...shape) <= 0) throw fail(`expected voxels, got an empty volume of shape ${words}`);
  if (axes < 3 || Math.min(...shape.slice(0, 3)) === 1) {
    throw fail(`expected a 3-D volume, got a flat one of shape ${words}`);
  }
  if (shape.slice(3).some((n) => n > 1)) {
    throw fail(`expected one 3-D volume, got several frames, shape ${words}`);
  }
  const [n, m, k] = shape;
  if (n * m * k > MAX_VOXELS) throw fail(`expected at most ${MAX_VOXELS} voxels, header says ${words}`);
  return [n, m, k];
}

/** @param {string} name @param {Header} header @param {Affine[]} forms @param {Shape} shape @param {string[]} notes */
function noteOrientation(name, { scode, qcode }, forms, shape, notes) {
  if (scode <= 0 && qcode <= 0) {
    notes.push(`${name}: the header names no orientation, so left and right are a guess`);
    return;
  }
  if (forms.length < 2) return;
  const apart = distance(forms[0], forms[1], shape);
  if (apart <= 0.1 * Math.min(...voxelSizes(forms[0]))) return;
  const [s, q] = forms.map(axisCodes);
  const said = s === q ? "" : ` (qform says ${q}, sform says ${s})`;
  notes.push(`${name}: qform and sform lie ${apart.toFixed(1)} mm apart${said}: sform is used, check it`);
}

/** @param {Uint8Array} content @param {Header} header */
function voxels(content, { type, little, slope, inter }) {
  const [size, read] = TYPES[type];
  const view = new DataView(content.buffer);
  const isScaled = slope !== 0 && Number.isFinite(slope);
  if (isScaled && !Number.isFinite(inter)) throw new Error("a slope without an intercept");
  const [factor, shift] = isScaled ? [Math.fround(slope), Math.fround(inter)] : [1, 0];
  const data = new Float32Array(content.length / size);
  for (let i = 0; i < data.length; i++) data[i] = read(view, i * size, little) * factor + shift;
  return data;
}

/**
 * A volume as the bytes of a `.nii` file: NIfTI-1, little-endian, 32-bit numbers, mm.
 * @param {{ data: Float32Array, shape: Shape, affine: Affine }} volume
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function niftiBytes({ data, shape, affine }) {
  const bytes = new Uint8Array(352 + 4 * data.length);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
  view.setInt16(70, 16, true); // 32-bit floats
  view.setInt16(72, 32, true);
  [1, ...voxelSizes(affine)].forEach((mm, i) => view.setFloat32(76 + 4 * i, mm, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  bytes[123] = 2; // mm
  view.setInt16(254, 2, true); // the sform alone: it holds any affine
  affine.slice(0, 12).forEach((v, i) => view.setFloat32(280 + 4 * i, v, true));
  bytes.set(new TextEncoder().encode("n+1\0"), 344);
  for (let i = 0; i < data.length; i++) view.setFloat32(352 + 4 * i, data[i], true);
  return bytes;
}

/**
 * The same as a `.nii.gz` file.
 * @param {{ data: Float32Array, shape: Shape, affine: Affine }} volume
 * @returns {Promise<Blob>}
 */
export async function niftiFile(volume) {
  const stream = new Blob([niftiBytes(volume)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Blob([await new Response(stream).arrayBuffer()], { type: "application/gzip" });
}
