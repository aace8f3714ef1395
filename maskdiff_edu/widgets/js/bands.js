// Frequency patch masking (explorers.BandExplorer).

async function render({ model, el }) {
  const spec = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const { image, brain, off_centre: offCentre, gray, magma } = await unpack(model);
  const [h, w] = image.shape;
  const spectrum = spectrumOf(image, h, w);
  const power = logPower(spectrum, h, w);
  const clean = canvas(h, w, "the clean slice");
  const bins = canvas(h, w, "");
  const left = canvas(h, w, "");
  stage.append(panel("clean slice", clean), panel("its spectrum", bins), panel("what is left", left));
  paint(clean, image, gray, -1, 1);

  const value = model.get("value");
  const onChange = () => bound.changed();
  const controls = {
    kind: choices({ label: "band", values: ["low-pass", "high-pass", "off-centre"], value: value.kind, onChange }),
    half: slider({ label: "half width", values: spec.halves, value: value.half, onChange,
                   show: (v) => `${v} bins` }),
    seed: slider({ label: "seed (off-centre)", values: spec.seeds, value: value.seed, onChange }),
    keep_mean: checkbox({ label: "keep the mean", value: value.keep_mean, onChange }),
  };
  area.append(...Object.values(controls).map((control) => control.node));

  function keptBins({ kind, half, seed }) {
    if (kind !== "off-centre") return centredSquare(h, w, half, kind === "low-pass");
    const at = (spec.halves.indexOf(half) * spec.seeds.length + seed) * h * w;
    return offCentre.subarray(at, at + h * w);
  }

  function draw() {
    const now = model.get("value");
    const kept = keptBins(now);
    controls.seed.disabled = now.kind !== "off-centre"; // the other bands are not drawn at random
    paint(left, applyBands(image, brain, spectrum, kept, h, w, now.keep_mean), gray, -1, 1);
    paintSpectrum(bins, power, kept, magma);
    const share = kept.reduce((a, b) => a + b, 0) / kept.length;
    const text = `The ${now.kind} of half width ${now.half} keeps ${percent(share)} of the frequencies and ${percent(powerKept(spectrum, kept, h, w))} of the power.`;
    describe(left, `the filtered slice. ${text}`);
    describe(bins, `the spectrum, removed bins black. ${text}`);
    say(text);
  }

  const bound = bind(model, controls, draw);
  return bound.stop;
}

export default { render };
