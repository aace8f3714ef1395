// Random numbers that a seed fixes. They are the page's own: the same seed gives the same picture
// on every machine, but another one than PyTorch's generator would.

/** @typedef {() => number} Random a number in [0, 1), another one at every call */

/**
 * A generator of its own for every seed: sfc32 (Doty-Humphrey, PractRand), 32-bit integers only,
 * so that every browser gives the same numbers.
 * @param {number} seed a whole number; only its last 32 bits count
 * @returns {Random}
 */
export function makeRandom(seed) {
  let [a, b, c, counter] = [0x9e3779b9, 0x243f6a88, seed | 0, 1];
  function next() {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  }
  for (let i = 0; i < 15; i++) next(); // neighbouring seeds begin alike
  return next;
}

/**
 * Independent normal numbers of mean 0 and variance 1 (Box and Muller 1958).
 * @param {Random} random
 * @param {number} count how many
 * @returns {Float64Array}
 */
export function normals(random, count) {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random())); // 1 - u is never 0
    const angle = 2 * Math.PI * random();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < count) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}
