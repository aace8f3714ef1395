// A fast Fourier transform of any length: 96 = 2^5 x 3 in 10 steps a point instead of 96.

/**
 * A complex array, its parts apart.
 * @typedef {{ re: Float64Array, im: Float64Array }} Complex
 */

/**
 * The transform of an (h, w) image, rows then columns, frequency 0 first. Forwards as NumPy's
 * `fft2`; backwards as `ifft2`, divided by h w.
 * @param {Complex} image h * w numbers, row by row; not changed
 * @param {number} h
 * @param {number} w
 * @param {boolean} [backwards]
 * @returns {Complex}
 */
export function fft2({ re, im }, h, w, backwards = false) {
  const out = { re: new Float64Array(h * w), im: new Float64Array(h * w) };
  const [alongRow, alongColumn] = [plan(w, backwards), plan(h, backwards)];
  for (let r = 0; r < h; r++) transform(alongRow, { re, im }, r * w, 1, out, r * w, w, 0);
  const column = { re: new Float64Array(h), im: new Float64Array(h) };
  for (let c = 0; c < w; c++) {
    transform(alongColumn, out, c, w, column, 0, h, 0);
    for (let r = 0; r < h; r++) {
      out.re[r * w + c] = column.re[r];
      out.im[r * w + c] = column.im[r];
    }
  }
  return backwards ? { re: scaled(out.re, 1 / (h * w)), im: scaled(out.im, 1 / (h * w)) } : out;
}

/**
 * What all transforms of one length share: its prime factors, and the n-th roots of 1.
 * @typedef {{ n: number, factors: number[], cos: Float64Array, sin: Float64Array,
 *   part: Complex }} Plan
 */

/**
 * @param {number} n
 * @param {boolean} backwards
 * @returns {Plan}
 */
function plan(n, backwards) {
  const turn = ((backwards ? 2 : -2) * Math.PI) / n;
  const factors = primeFactors(n).reverse(); // the cheap twos last, where most rows are short
  const largest = Math.max(1, ...factors);
  return {
    n,
    factors,
    cos: Float64Array.from({ length: n }, (_, k) => Math.cos(turn * k)),
    sin: Float64Array.from({ length: n }, (_, k) => Math.sin(turn * k)),
    part: { re: new Float64Array(largest), im: new Float64Array(largest) },
  };
}

/** @param {number} n @returns {number[]} smallest first */
function primeFactors(n) {
  const factors = [];
  for (let p = 2; n > 1; p++) {
    for (; n % p === 0; n /= p) factors.push(p);
  }
  return factors;
}

/**
 * Cooley and Tukey 1965: n points as `p` interleaved rows of n / p, transformed one by one and
 * then combined.
 * @param {Plan} plan
 * @param {Complex} from
 * @param {number} start where the first point stands in `from`
 * @param {number} step from there to the next
 * @param {Complex} to
 * @param {number} at where the first result goes in `to`; the others follow it
 * @param {number} n points
 * @param {number} level how many factors are taken off already
 */
function transform(plan, from, start, step, to, at, n, level) {
  if (n === 1) {
    to.re[at] = from.re[start];
    to.im[at] = from.im[start];
    return;
  }
  const p = plan.factors[level];
  const m = n / p;
  for (let row = 0; row < p; row++) {
    transform(plan, from, start + row * step, step * p, to, at + row * m, m, level + 1);
  }
  if (p === 2) combineTwo(plan, to, at, m);
  else combine(plan, to, at, m, p);
}

/**
 * Two rows of m results to 2 m, in place: half the work of `combine`, whose special case it is.
 * @param {Plan} plan
 * @param {Complex} to
 * @param {number} at
 * @param {number} m
 */
function combineTwo({ n, cos, sin }, { re, im }, at, m) {
  const stride = n / (2 * m); // the roots of 1 that are needed, among those of the whole
  for (let k = 0, i = at, j = at + m; k < m; k++, i++, j++) {
    const [c, s] = [cos[k * stride], sin[k * stride]];
    const turnedRe = re[j] * c - im[j] * s;
    const turnedIm = re[j] * s + im[j] * c;
    re[j] = re[i] - turnedRe;
    im[j] = im[i] - turnedIm;
    re[i] += turnedRe;
    im[i] += turnedIm;
  }
}

/**
 * `p` rows of m results to p m, in place.
 * @param {Plan} plan
 * @param {Complex} to
 * @param {number} at
 * @param {number} m
 * @param {number} p
 */
function combine({ n, cos, sin, part }, to, at, m, p) {
  const stride = n / (p * m);
  for (let k = 0; k < m; k++) {
    for (let row = 0; row < p; row++) {
      part.re[row] = to.re[at + row * m + k];
      part.im[row] = to.im[at + row * m + k];
    }
    for (let q = 0; q < p; q++) {
      let re = part.re[0];
      let im = part.im[0];
      for (let row = 1; row < p; row++) {
        const angle = (row * (k + q * m) * stride) % n;
        re += part.re[row] * cos[angle] - part.im[row] * sin[angle];
        im += part.re[row] * sin[angle] + part.im[row] * cos[angle];
      }
      to.re[at + q * m + k] = re;
      to.im[at + q * m + k] = im;
    }
  }
}

/** @param {Float64Array} values @param {number} factor */
function scaled(values, factor) {
  return values.map((v) => v * factor);
}
