// A curve as a sum of cosines (waves.CosineSum).

async function render({ model, el }) {
  const spec = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const { curve } = await unpack(model);
  const { amplitudes, sums } = cosineSums(curve);
  const pixels = Array.from(curve, (_, i) => i);
  const everything = [...curve, ...sums.flat()];
  const range = [Math.min(...everything), Math.max(...everything)];

  const sum = linePlot({
    x: pixels, lines: [{ name: "the curve", y: Array.from(curve) }, { name: "sum of cosines", y: sums[0] }],
    xlabel: spec.xlabel, ylabel: spec.ylabel, yRange: range,
  });
  const size = linePlot({
    x: spec.counts, lines: [{ name: "amplitude", y: amplitudes }],
    xlabel: "cycles over the curve", ylabel: "amplitude",
  });
  stage.append(sum.node, size.node);
  const count = slider({ label: "cosines in the sum", values: spec.counts, value: model.get("value").count,
                         onChange: () => bound.changed() });
  area.append(count.node);

  function draw() {
    const k = count.value;
    sum.setLines([{ y: Array.from(curve) }, { y: sums[k] }]);
    sum.update(null);
    size.update(k);
    const off = sums[k].reduce((total, v, i) => total + Math.abs(v - curve[i]), 0) / curve.length;
    const last = k
      ? `The last one makes ${k} ${k === 1 ? "cycle" : "cycles"} and has amplitude ${amplitudes[k].toFixed(3)}. `
      : "No cosine yet: the sum is the mean, a straight line. ";
    const text = `${last}The sum differs from the curve by ${off.toFixed(3)} on average.`;
    sum.node.firstChild.setAttribute("aria-label", `the curve, and the mean with ${k} cosines. ${text}`);
    say(text);
  }

  const bound = bind(model, { count }, draw);
  return bound.stop;
}

export default { render };
