// What one network makes of the slice: pictures, two bars, and numbers at a threshold.

const BAR_TOP = 1; // the mean difference at which a bar is full
const RESIDUAL_TOP = 0.5; // and a pixel as bright as it gets
const MAP_TOP = 0.6; // the map's value at which its colour is full

// A column of the figure for one network; `showAnswer` fills it.
function answerColumn(name, h, w, { full }) {
  const pictures = {
    redrawn: canvas(h, w, `${name}: nothing drawn yet`),
    residual: canvas(h, w, `${name}: nothing to compare yet`),
    ...(full && { map: canvas(h, w, `${name}: no anomaly map yet`) }),
  };
  const titles = { redrawn: "redrawn", residual: "difference", map: "map" };
  const bars = errorBars();
  const takenBack = make("p", { className: "maskdiff-taken-back" });
  const scores = make("p", { className: "maskdiff-scores", hidden: !full });
  const node = make(
    "div",
    { className: "maskdiff-column", role: "group", "aria-label": name },
    ...Object.entries(pictures).map(([kind, picture]) => panel(`${name}: ${titles[kind]}`, picture)),
    panel(`${name}: in numbers`, make("div", {}, bars.node, takenBack, scores)),
  );
  return { node, pictures, bars, takenBack, scores, name };
}

// `found` is what `measureAnswer` made of a network's answer.
function showAnswer(column, found, { painted, outline, gray, magma, isFinal }) {
  const { pictures, bars, takenBack, scores, name } = column;
  paint(pictures.redrawn, found.redrawn, gray, -1, 1, outline);
  paint(pictures.residual, found.error, magma, 0, RESIDUAL_TOP, outline);
  bars.show(found.sizes);
  takenBack.textContent = Number.isNaN(found.takenBack) ? "" : `taken back: ${percent(found.takenBack)}`;
  const told = answerInWords(name, found);
  describe(pictures.redrawn, `what ${name} draws. ${told}`);
  describe(pictures.residual, `where it differs from the slice. ${told}`);
  if (!pictures.map) return;
  paintOver(pictures.map, painted, found.map, { gray, magma, outline });
  describe(pictures.map, `the anomaly map of ${name} over the slice. ${found.scored}`);
  if (isFinal) scores.textContent = found.scored;
}

// All that is shown of an answer, by the library's own steps (lab/anomaly.js, lab/brush.js).
function measureAnswer(tools, manifest, { image, painted, marked, brain, x0Hat, threshold, full }) {
  const redrawn = x0Hat.map((v, i) => (brain[i] ? v : -1));
  const error = tools.residual(painted, redrawn, "absolute");
  const found = {
    redrawn,
    error,
    sizes: insideAndOutside(error, marked, brain),
    takenBack: shareTakenBack(image, painted, redrawn),
  };
  if (!full) return found;
  const size = { n: 1, h: manifest.inputs.x_t[2], w: manifest.inputs.x_t[3] };
  const raw = tools.residual(painted, redrawn, manifest.detector.residual);
  found.map = tools.postprocess(raw, brain, size, manifest.detector.postprocessing);
  const at = threshold === OWN ? manifest.threshold : threshold;
  found.scored = scoredInWords(tools.scoreAt(found.map, marked, brain, at), at);
  return found;
}

function answerInWords(name, { sizes, takenBack }) {
  const elsewhere = sizes.outside.toFixed(2);
  if (!sizes.pixels) return `\`${name}\` differs from the slice by ${elsewhere}.`;
  const undone = Number.isNaN(takenBack) ? "" : `, and takes back ${percent(takenBack)} of what you painted`;
  return (
    `\`${name}\` differs by ${sizes.inside.toFixed(2)} inside the outline and by ${elsewhere} ` +
    `outside it${undone}.`
  );
}

function scoredInWords({ dice, precision, recall, detected, lesions }, threshold) {
  const two = (v) => (Number.isNaN(v) ? "undefined" : v.toFixed(2));
  const above = `Above ${threshold.toFixed(2)}: ${detected} pixels`;
  if (!lesions) return `${above}, none of them outlined.`;
  return `${above}. Dice ${two(dice)}, precision ${two(precision)}, recall ${two(recall)}.`;
}

// Two bars on one scale, so that they can be compared at a glance.
function errorBars() {
  const rows = Object.fromEntries(
    ["inside", "outside"].map((name) => {
      const fill = make("div", { className: `maskdiff-bar-fill maskdiff-bar-${name}` });
      const number = make("span", { textContent: "–" });
      const bar = make("div", { className: "maskdiff-bar" }, fill);
      return [name, { row: make("div", {}, make("div", {}, `${name}: `, number), bar), fill, number }];
    }),
  );
  return {
    node: make("div", {}, ...Object.values(rows).map(({ row }) => row)),
    show: (sizes) => {
      for (const [name, { fill, number }] of Object.entries(rows)) {
        const size = sizes[name];
        number.textContent = Number.isNaN(size) ? "–" : size.toFixed(2);
        fill.style.width = `${100 * Math.min(1, (size || 0) / BAR_TOP)}%`;
      }
    },
  };
}

// The slice in grey, the map's colours over it, the more of them the higher it is.
function paintOver(target, image, map, { gray, magma, outline }) {
  const context = target.getContext("2d");
  const picture = context.createImageData(target.width, target.height);
  const place = (share) => 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
  map.forEach((value, i) => {
    const [under, over] = [place((image[i] + 1) / 2), place(value / MAP_TOP)];
    const opacity = Math.min(1, (1.5 * value) / MAP_TOP);
    for (let c = 0; c < 3; c++) {
      const mixed = gray[under + c] + opacity * (magma[over + c] - gray[under + c]);
      picture.data[4 * i + c] = outline[i] ? OUTLINE[c] : mixed;
    }
    picture.data[4 * i + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}
