// Numbers painted as pictures.

// A canvas with words for those who do not see it; `label` can be changed by `describe`.
function canvas(h, w, label) {
  return make("canvas", { className: "maskdiff-picture", width: w, height: h, role: "img", "aria-label": label });
}

function describe(target, text) {
  target.setAttribute("aria-label", text);
}

// `values` (h, w) through a map of 256 colours, from `low` to `high`; marked pixels in `outline`'s
// colour. NaN is left transparent.
function paint(target, values, colours, low, high, marked = null) {
  const context = target.getContext("2d");
  const picture = context.createImageData(target.width, target.height);
  for (let i = 0; i < values.length; i++) {
    const share = (values[i] - low) / (high - low);
    const step = Math.round(255 * Math.min(1, Math.max(0, share)));
    const rgb = marked?.[i] ? OUTLINE : colours.subarray(3 * step, 3 * step + 3);
    picture.data.set(rgb, 4 * i);
    picture.data[4 * i + 3] = Number.isNaN(share) ? 0 : 255;
  }
  context.putImageData(picture, 0, 0);
}

const OUTLINE = [0, 213, 255]; // cyan, as in plots.py

// Pixels of a mask that touch its outside: where its outline is drawn.
function edgeOf(mask, h, w) {
  const edge = new Uint8Array(h * w);
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      const i = r * w + c;
      const inner =
        r > 0 && r < h - 1 && c > 0 && c < w - 1 && mask[i - 1] && mask[i + 1] && mask[i - w] && mask[i + w];
      edge[i] = mask[i] && !inner ? 1 : 0;
    }
  }
  return edge;
}

// A slice of a packed stack (n, h, w).
function sliceOf(stack, index) {
  const [, h, w] = stack.shape;
  return stack.subarray(index * h * w, (index + 1) * h * w);
}

const percent = (share) => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 1 : 0)} %`;

// A spectrum in log power, what is removed in black, some bins outlined.
function paintSpectrum(target, power, kept, colours, marked = null) {
  const shown = power.map((v, i) => (kept[i] ? v : -Infinity));
  paint(target, shown, colours, -2, Math.max(...power), marked);
}
