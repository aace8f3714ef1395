// Noise an image, and read a network's answer: as in maskdiff_edu/diffusion.

/** @typedef {"x_0" | "eps" | "v"} Prediction what a network answers with */

/**
 * Jump from x_0 to x_t (DDPM, arXiv 2006.11239, equation 4).
 * @param {Float32Array} x0 any number of pixels, in [-1, 1]
 * @param {Float32Array} eps as many
 * @param {number} alphaBar share of the signal's power left at t, from the manifest's table
 * @returns {Float32Array} x_t
 */
export function addNoise(x0, eps, alphaBar) {
  const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  return x0.map((v, i) => signal * v + noise * eps[i]);
}

/**
 * The image that a network's answer stands for (objectives.to_x_0).
 * @param {Prediction} kind
 * @param {Float32Array} answer
 * @param {Float32Array} xT what the network saw
 * @param {number} alphaBar
 * @returns {Float32Array} x_0_hat
 * @throws {RangeError} for an unknown kind
 */
export function toX0(kind, answer, xT, alphaBar) {
  const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  switch (kind) {
    case "x_0":
      return answer;
    case "eps":
      return answer.map((eps, i) => (xT[i] - noise * eps) / signal);
    case "v":
      return answer.map((v, i) => signal * xT[i] - noise * v);
  }
  throw new RangeError(`answers: expected "x_0", "eps" or "v", got "${kind}"`);
}
