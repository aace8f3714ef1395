// What a reader paints on a slice: strokes that can be replayed, so that undoing is leaving one out.

/** @typedef {"hole" | "bright spot" | "dark spot"} Tool */
/**
 * @typedef {{ tool: Tool | "rub out", radius: number, points: [number, number][] }} Stroke
 *   a line of discs of some pixels' radius; points are [row, column]
 */

/** What each tool puts in a slice's place, on its scale of -1 to 1. @type {Record<Tool, number>} */
export const BRIGHTNESS = { hole: 0, "bright spot": 0.9, "dark spot": -0.9 };

/**
 * The slice with all strokes on it, and where it was changed. Only the brain is painted on.
 * @param {Float32Array} image h * w pixels; not changed
 * @param {Uint8Array} brain
 * @param {Stroke[]} strokes oldest first
 * @param {number} h
 * @param {number} w
 * @returns {{ painted: Float32Array, marked: Uint8Array }}
 */
export function replay(image, brain, strokes, h, w) {
  const painted = Float32Array.from(image);
  const marked = new Uint8Array(h * w);
  for (const { tool, radius, points } of strokes) {
    for (const [row, column] of points) {
      for (const i of disc(row, column, radius, h, w)) {
        if (!brain[i]) continue;
        marked[i] = tool === "rub out" ? 0 : 1;
        painted[i] = tool === "rub out" ? image[i] : BRIGHTNESS[tool];
      }
    }
  }
  return { painted, marked };
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
