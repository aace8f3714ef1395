// Residual, clean-up, threshold, and what they do to the numbers (scores.ScoreExplorer).

async function render({ model, el }) {
  const spec = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const { image, brains, lesion, eroded, residual, smoothed, gray, magma } = await unpack(model);
  const [h, w] = image.shape;
  const brain = sliceOf(brains, spec.shown);
  const lesionEdge = edgeOf(lesion, h, w);
  const top = spec.thresholds[spec.thresholds.length - 1];

  const scan = canvas(h, w, "the scan, the lesion outlined");
  const map = canvas(h, w, "");
  const called = canvas(h, w, "");
  const grid = Array.from({ length: 101 }, (_, i) => i / 100);
  const curve = linePlot({
    x: grid, lines: [{ name: "precision", y: grid.map(() => 0) }], yRange: [0, 1],
    xlabel: "recall", ylabel: "precision", label: "precision against recall over all thresholds",
  });
  stage.append(panel("scan", scan), panel("anomaly map", map), panel("called, lesion outlined", called), curve.node);
  paint(scan, image, gray, -1, 1, lesionEdge);

  const value = model.get("value");
  const onChange = () => bound.changed();
  const numbersOf = (values) => values.every((v) => typeof v === "number");
  const controls = {};
  for (const { name, label, values } of spec.axes) {
    const kind = numbersOf(values) ? slider : choices;
    controls[name] = kind({ label, values, value: value[name], onChange });
  }
  controls.filter = choices({ label: "filter", values: spec.filters, value: value.filter, onChange });
  controls.erosions = slider({ label: "erosions", values: spec.erosions, value: value.erosions, onChange });
  controls.threshold = slider({ label: "threshold", values: spec.thresholds, value: value.threshold, onChange });
  area.append(...Object.values(controls).map((control) => control.node));

  // The map of one choice of axes and clean-up is the same for every threshold.
  let [mapKey, scores, points] = ["", null, null];
  function updateMap(now) {
    const places = spec.axes.map(({ name, values }) => values.indexOf(now[name]));
    const key = JSON.stringify([places, now.filter, now.erosions]);
    if (key === mapKey) return;
    mapKey = key;
    const at = spec.axes.reduce((index, { values }, i) => index * values.length + places[i], 0);
    const size = brains.length;
    const toScores = (coded) => Float64Array.from(coded, (v) => v * spec.step);
    const filtered = now.filter in spec.medians
      ? medianFilter(toScores(residual.subarray(at * size, (at + 1) * size)), brains, spec.shown, h, w,
                     spec.medians[now.filter])
      : toScores(smoothed.subarray(at * h * w, (at + 1) * h * w));
    const inside = sliceOf(eroded, spec.erosions.indexOf(now.erosions));
    scores = filtered.map((v, i) => (inside[i] ? v : 0));
    points = precisionRecall(scores, lesion, brain);
    paint(map, scores, magma, 0, top);
    curve.setLines([{ name: "precision", y: grid.map((r) => stepAt(points, r)) }]);
  }

  function draw() {
    const now = model.get("value");
    updateMap(now);
    const found = countDetected(scores, lesion, brain, now.threshold);
    const shown = image.map((v, i) => (brain[i] && scores[i] > now.threshold ? 1.5 : v * 0.6 - 0.4));
    paint(called, shown, gray, -1, 1, lesionEdge);
    curve.update(found.recall, undefined);
    const two = (v) => (Number.isNaN(v) ? "undefined" : v.toFixed(2));
    const text =
      `Dice ${two(found.dice)}, precision ${two(found.precision)}, recall ${two(found.recall)} at threshold ${now.threshold}. ` +
      `AUPRC of this slice ${two(points.auprc)}, prevalence ${points.prevalence.toFixed(3)}.`;
    describe(map, `the anomaly map. ${text}`);
    describe(called, `${found.detected} voxels called, ${found.hits} of them lesion, out of ${found.lesions} lesion voxels`);
    say(text);
  }

  const bound = bind(model, controls, draw);
  return bound.stop;
}

// Precision of the first point of the curve that reaches a recall.
function stepAt({ precision, recall }, wanted) {
  const i = recall.findIndex((r) => r >= wanted - 1e-12);
  return i < 0 ? NaN : precision[i];
}

export default { render };
