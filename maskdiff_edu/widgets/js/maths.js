// The numerics of the figures, as the library has them; tests/test_widgets.py compares the two.
// Images are flat arrays, row by row; brain, patch and lesion masks hold 0 and 1.

// ---- Discrete Fourier transform of an (h, w) image: any size, rows then columns.

function twiddles(n) {
  const [re, im] = [new Float64Array(n), new Float64Array(n)];
  for (let k = 0; k < n; k++) {
    re[k] = Math.cos((2 * Math.PI * k) / n);
    im[k] = -Math.sin((2 * Math.PI * k) / n);
  }
  return { re, im };
}

// All rows (or columns) of a complex image at once; `sign` is 1 forwards and -1 backwards.
function transformLines({ re, im }, count, n, lineStep, pointStep, sign) {
  const turn = twiddles(n);
  const [outRe, outIm] = [new Float64Array(re.length), new Float64Array(re.length)];
  for (let line = 0; line < count; line++) {
    const start = line * lineStep;
    for (let k = 0; k < n; k++) {
      let [sumRe, sumIm] = [0, 0];
      for (let j = 0, angle = 0; j < n; j++) {
        const c = turn.re[angle];
        const s = sign * turn.im[angle];
        const at = start + j * pointStep;
        sumRe += re[at] * c - im[at] * s;
        sumIm += re[at] * s + im[at] * c;
        angle += k;
        if (angle >= n) angle -= n;
      }
      outRe[start + k * pointStep] = sumRe;
      outIm[start + k * pointStep] = sumIm;
    }
  }
  return { re: outRe, im: outIm };
}

// The spectrum of a real image: {re, im}, frequency 0 first.
function dft2(image, h, w) {
  const complex = { re: Float64Array.from(image), im: new Float64Array(image.length) };
  const rows = transformLines(complex, h, w, w, 1, 1);
  return transformLines(rows, w, h, 1, w, 1);
}

// Back to a real image; the imaginary part, rounding for a Hermitian mask, is dropped.
function inverseDft2(spectrum, h, w) {
  const columns = transformLines(spectrum, w, h, 1, w, -1);
  const { re } = transformLines(columns, h, w, w, 1, -1);
  return re.map((v) => v / (h * w));
}

// A curve taken apart: amplitude of the mean and of each cosine, and the sums of the first k + 1.
function cosineSums(curve) {
  const n = curve.length;
  const { re, im } = dft2(curve, 1, n);
  const [amplitudes, sums] = [[], []];
  let sum = new Array(n).fill(0);
  for (let k = 0; k <= n / 2; k++) {
    const twins = k === 0 || 2 * k === n ? 1 : 2; // k and -k make one cosine
    const [size, shift] = [(twins * Math.hypot(re[k], im[k])) / n, Math.atan2(im[k], re[k])];
    sum = sum.map((v, x) => v + size * Math.cos((2 * Math.PI * k * x) / n + shift));
    amplitudes.push(size);
    sums.push(sum);
  }
  return { amplitudes, sums };
}

// Where the frequency of a shifted spectrum's bin stands in an unshifted one.
function unshiftedIndex(row, column, h, w) {
  const r = (row + h - Math.floor(h / 2)) % h;
  const c = (column + w - Math.floor(w / 2)) % w;
  return r * w + c;
}

// log10 of the power at every bin of the shifted spectrum.
function logPower(spectrum, h, w) {
  const power = new Float64Array(h * w);
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      const i = unshiftedIndex(r, c, h, w);
      power[r * w + c] = Math.log10(spectrum.re[i] ** 2 + spectrum.im[i] ** 2 + 1e-12);
    }
  }
  return power;
}

// ---- Masks: what masks.py draws and applies.

// The centred square of bins -half..half of a shifted spectrum, kept or removed; 1 is kept.
function centredSquare(h, w, half, keepInside) {
  const kept = new Uint8Array(h * w);
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      const inside = Math.abs(r - Math.floor(h / 2)) <= half && Math.abs(c - Math.floor(w / 2)) <= half;
      kept[r * w + c] = inside === keepInside ? 1 : 0;
    }
  }
  return kept;
}

// The bin of -k for the bin of k on a shifted spectrum.
function mirroredBin(row, column, h, w) {
  const flip = (i, n) => (n % 2 ? n - 1 - i : (n - i) % n);
  return [flip(row, h), flip(column, w)];
}

function brainMean(values, brain) {
  let [total, count] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (brain[i]) {
      total += values[i];
      count += 1;
    }
  }
  return count ? total / count : 0;
}

// masks.apply_bands, given the spectrum of image + 1: background at -1.
function applyBands(image, brain, spectrum, kept, h, w, keepMean) {
  const masked = { re: new Float64Array(h * w), im: new Float64Array(h * w) };
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      if (!kept[r * w + c]) continue;
      const i = unshiftedIndex(r, c, h, w);
      masked.re[i] = spectrum.re[i];
      masked.im[i] = spectrum.im[i];
    }
  }
  const filtered = inverseDft2(masked, h, w);
  const shifted = image.map((v) => v + 1);
  const lost = keepMean ? brainMean(shifted, brain) - brainMean(filtered, brain) : 0;
  return filtered.map((v, i) => (brain[i] ? v + lost - 1 : -1));
}

function spectrumOf(image, h, w) {
  return dft2(image.map((v) => v + 1), h, w);
}

// masks.apply_patches: `fill` is a number, "mean", or an image of noise with unit variance.
function applyPatches(image, brain, patch, fill) {
  if (typeof fill === "number") return image.map((v, i) => (patch[i] ? fill : v));
  const mean = brainMean(image, brain);
  if (fill === "mean") return image.map((v, i) => (patch[i] ? mean : v));
  const spread = Math.sqrt(brainMean(image.map((v) => (v - mean) ** 2), brain));
  return image.map((v, i) => (patch[i] ? mean + spread * fill[i] : v));
}

function cutmix(image, pasted, patch) {
  return image.map((v, i) => (patch[i] ? pasted[i] : v));
}


// Share of the brain that a mask holds.
function shareOfBrain(mask, brain) {
  return brainMean(mask, brain);
}

// ---- Scores: what anomaly.py and metrics.py compute.

// anomaly.median_filter for slice `index` of a stack: a cube in which only brain voxels vote.
export function medianFilter(stack, brains, index, h, w, size) {
  const reach = (size - 1) / 2;
  const n = stack.length / (h * w);
  const filtered = new Float64Array(h * w);
  const votes = new Float64Array(size ** 3);
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      if (!brains[(index * h + r) * w + c]) continue;
      let count = 0;
      for (let z = Math.max(0, index - reach); z <= Math.min(n - 1, index + reach); z++) {
        for (let y = Math.max(0, r - reach); y <= Math.min(h - 1, r + reach); y++) {
          for (let x = Math.max(0, c - reach); x <= Math.min(w - 1, c + reach); x++) {
            const at = (z * h + y) * w + x;
            if (brains[at]) votes[count++] = stack[at];
          }
        }
      }
      const ranked = votes.subarray(0, count).sort();
      const middle = count >> 1;
      filtered[r * w + c] = count % 2 ? ranked[middle] : (ranked[middle - 1] + ranked[middle]) / 2;
    }
  }
  return filtered;
}

// Voxels above a threshold, and how they meet the lesion: all within the brain.
export function countDetected(scores, lesion, brain, threshold) {
  let [detected, hits, lesions] = [0, 0, 0];
  for (let i = 0; i < scores.length; i++) {
    if (!brain[i]) continue;
    const above = scores[i] > threshold;
    if (above) detected += 1;
    if (lesion[i]) lesions += 1;
    if (above && lesion[i]) hits += 1;
  }
  return {
    dice: detected + lesions ? (2 * hits) / (detected + lesions) : 1,
    precision: detected ? hits / detected : NaN, // nothing called: no precision
    recall: lesions ? hits / lesions : NaN,
    detected,
    hits,
    lesions,
  };
}

// The precision-recall curve from the highest score down, ties together, and the area under it
// (average precision, as metrics.auprc).
export function precisionRecall(scores, lesion, brain) {
  const inside = [];
  for (let i = 0; i < scores.length; i++) if (brain[i]) inside.push(i);
  inside.sort((a, b) => scores[b] - scores[a]);
  const lesions = inside.reduce((total, i) => total + lesion[i], 0);
  const [precision, recall] = [[], []];
  let [hits, area, before] = [0, 0, 0];
  inside.forEach((i, rank) => {
    hits += lesion[i];
    const lastOfTies = rank === inside.length - 1 || scores[inside[rank + 1]] !== scores[i];
    if (!lastOfTies) return;
    const [p, r] = [hits / (rank + 1), hits / lesions];
    area += p * (r - before);
    before = r;
    precision.push(p);
    recall.push(r);
  });
  return { precision, recall, auprc: area, prevalence: lesions / inside.length };
}

// The first `count` squares of a seed, from the packed (sizes, seeds, squares, h, w).
function squares(patches, sizeIndex, seed, count) {
  const [, seeds, most, h, w] = patches.shape;
  const start = (sizeIndex * seeds + seed) * most * h * w;
  const hidden = new Uint8Array(h * w);
  for (let i = 0; i < count * h * w; i++) hidden[i % (h * w)] |= patches[start + i];
  return hidden;
}

// Share of the power, without the mean's, that a mask of a shifted spectrum keeps.
function powerKept(spectrum, kept, h, w) {
  let [total, left] = [0, 0];
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      const i = unshiftedIndex(r, c, h, w);
      if (i === 0) continue;
      const power = spectrum.re[i] ** 2 + spectrum.im[i] ** 2;
      total += power;
      if (kept[r * w + c]) left += power;
    }
  }
  return left / total;
}
