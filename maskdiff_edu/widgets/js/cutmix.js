// FPM-CM (explorers.CutMixExplorer).

async function render({ model, el }) {
  const spec = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const { image, brain, patches, gray } = await unpack(model);
  const [h, w] = image.shape;
  const spectrum = spectrumOf(image, h, w);
  const clean = canvas(h, w, "the clean slice");
  const masked = canvas(h, w, "");
  const mixed = canvas(h, w, "");
  stage.append(panel("clean slice", clean), panel("frequency-masked", masked), panel("pasted together", mixed));
  paint(clean, image, gray, -1, 1);

  const value = model.get("value");
  const onChange = () => bound.changed();
  const controls = {
    kind: choices({ label: "band", values: ["low-pass", "high-pass"], value: value.kind, onChange }),
    half: slider({ label: "half width", values: spec.halves, value: value.half, onChange,
                   show: (v) => `${v} bins` }),
    count: slider({ label: "squares", values: spec.counts, value: value.count, onChange }),
    size: slider({ label: "side", values: spec.sizes, value: value.size, onChange,
                   show: (v) => `${percent(v)} of the brain's rows` }),
    seed: slider({ label: "seed", values: spec.seeds, value: value.seed, onChange }),
  };
  area.append(...Object.values(controls).map((control) => control.node));

  function draw() {
    const { kind, half, count, size, seed } = model.get("value");
    const kept = centredSquare(h, w, half, kind === "low-pass");
    const filtered = applyBands(image, brain, spectrum, kept, h, w, false);
    const patch = squares(patches, spec.sizes.indexOf(size), seed, count);
    paint(masked, filtered, gray, -1, 1);
    paint(mixed, cutmix(image, filtered, patch), gray, -1, 1);
    const text = `${percent(shareOfBrain(patch, brain))} of the brain comes from the ${kind} image of half width ${half}, the rest is clean.`;
    describe(masked, `the frequency-masked slice: ${kind}, half width ${half}`);
    describe(mixed, `the composite: ${text}`);
    say(text);
  }

  const bound = bind(model, controls, draw);
  return bound.stop;
}

export default { render };
