// What a reader paints on a slice: strokes that can be replayed, so that undoing is leaving one out.

/**
 * @typedef {{ tool: "lesion" | "hole" | "rub out", radius: number, brightness?: number,
 *   soft?: boolean, points: [number, number][] }} Stroke
 *   a line of discs of some pixels' radius; points are [row, column]; a lesion has a brightness on
 *   the slice's scale of -1 to 1, and a soft one fades out over the outer half of its radius
 */

/**
 * The slice with all strokes on it, and what counts as changed: what was painted, and the lesion
 * that was there before. Only the brain is painted on.
 * @param {Float32Array} image h * w pixels; not changed
 * @param {Uint8Array} brain
 * @param {Uint8Array} lesion
 * @param {Stroke[]} strokes oldest first
 * @param {number} h
 * @param {number} w
 * @returns {{ painted: Float32Array, marked: Uint8Array }}
 */
export function replay(image, brain, lesion, strokes, h, w) {
  const painted = Float32Array.from(image);
  const marked = Uint8Array.from(lesion, (v, i) => v & brain[i]);
  for (const stroke of strokes) {
    const covered = coverage(stroke, h, w);
    for (let i = 0; i < covered.length; i++) {
      const share = covered[i];
      if (!share || !brain[i]) continue;
      if (stroke.tool === "rub out") {
        painted[i] = image[i];
        marked[i] = lesion[i];
      } else {
        painted[i] += share * (brightnessOf(stroke) - painted[i]);
        if (share >= 0.5) marked[i] = 1;
      }
    }
  }
  return { painted, marked };
}

/** A hole is what masking puts there: 0, the middle of the scale. @param {Stroke} stroke */
export function brightnessOf({ tool, brightness = 0.9 }) {
  return tool === "hole" ? 0 : brightness;
}

/**
 * How much of each pixel a stroke covers, 0 to 1. Where its discs overlap the fuller one counts.
 * @param {Stroke} stroke
 * @param {number} h
 * @param {number} w
 */
export function coverage({ tool, radius, soft = false, points }, h, w) {
  const covered = new Float32Array(h * w);
  for (const [row, column] of points) {
    for (const i of disc(row, column, radius, h, w)) {
      const far = Math.hypot(Math.floor(i / w) - row, (i % w) - column) / radius;
      const share = soft && tool === "lesion" ? Math.min(1, 2 * (1 - far)) : 1;
      covered[i] = Math.max(covered[i], share);
    }
  }
  return covered;
}

/**
 * Pixels of a disc that lie on the slice.
 * @param {number} row
 * @param {number} column
 * @param {number} radius
 * @param {number} h
 * @param {number} w
 */
export function disc(row, column, radius, h, w) {
  const found = [];
  const reach = Math.floor(radius);
  for (let r = Math.max(0, row - reach); r <= Math.min(h - 1, row + reach); r++) {
    for (let c = Math.max(0, column - reach); c <= Math.min(w - 1, column + reach); c++) {
      if ((r - row) ** 2 + (c - column) ** 2 <= radius ** 2) found.push(r * w + c);
    }
  }
  return found;
}

/**
 * Mean of some values inside and outside what was painted; NaN where there is no pixel.
 * @param {Float32Array} values
 * @param {Uint8Array} marked
 * @param {Uint8Array} brain
 */
export function insideAndOutside(values, marked, brain) {
  const [sums, counts] = [[0, 0], [0, 0]];
  for (let i = 0; i < values.length; i++) {
    if (!brain[i]) continue;
    sums[marked[i]] += values[i];
    counts[marked[i]] += 1;
  }
  return { outside: sums[0] / counts[0], inside: sums[1] / counts[1], pixels: counts[1] };
}

/**
 * How much of what was painted a drawing undoes: 0 if it keeps all of it, 1 if it shows what was
 * there before, more if it goes beyond. NaN where nothing is painted.
 * @param {Float32Array} image before
 * @param {Float32Array} painted
 * @param {Float32Array} redrawn
 */
export function shareTakenBack(image, painted, redrawn) {
  let [undone, total] = [0, 0];
  for (let i = 0; i < image.length; i++) {
    const change = painted[i] - image[i];
    undone += (painted[i] - redrawn[i]) * change;
    total += change ** 2;
  }
  return undone / total;
}
