// Image patch masking (explorers.PatchExplorer).

const FILLS = { grey: 0, background: -1, mean: "mean", noise: "noise" };

async function render({ model, el }) {
  const spec = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const { image, brain, patches, noise, gray } = await unpack(model);
  const [h, w] = image.shape;
  const [before, after] = [canvas(h, w, "the clean slice"), canvas(h, w, "")];
  stage.append(panel("clean slice", before), panel("masked slice", after));
  paint(before, image, gray, -1, 1);

  const value = model.get("value");
  const onChange = () => bound.changed();
  const controls = {
    count: slider({ label: "squares", values: spec.counts, value: value.count, onChange }),
    size: slider({ label: "side", values: spec.sizes, value: value.size, onChange,
                   show: (v) => `${percent(v)} of the brain's rows` }),
    seed: slider({ label: "seed", values: spec.seeds, value: value.seed, onChange }),
    fill: choices({ label: "filled with", values: Object.keys(FILLS), value: value.fill, onChange }),
  };
  area.append(...Object.values(controls).map((control) => control.node));

  function draw() {
    const { count, size, seed, fill } = model.get("value");
    const patch = squares(patches, spec.sizes.indexOf(size), seed, count);
    const filling = fill === "noise" ? noise : FILLS[fill];
    paint(after, applyPatches(image, brain, patch, filling), gray, -1, 1);
    const text = `${count} squares hide ${percent(shareOfBrain(patch, brain))} of the brain; the holes hold ${fill}.`;
    describe(after, `the masked slice: ${text}`);
    say(text);
  }

  const bound = bind(model, controls, draw);
  return bound.stop;
}

export default { render };
