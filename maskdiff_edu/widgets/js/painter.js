// Squares of the spectrum switched off and on (explorers.SpectrumPainter).

async function render({ model, el }) {
  const { tile, reach } = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const { image, brain, gray, magma } = await unpack(model);
  const [h, w] = image.shape;
  const spectrum = spectrumOf(image, h, w);
  const power = logPower(spectrum, h, w);
  const bins = canvas(h, w, "");
  const left = canvas(h, w, "");
  bins.classList.add("maskdiff-clickable");
  stage.append(panel("spectrum: click to switch", bins), panel("what is left", left));

  // A square is named by its distance from the middle one, counted in squares.
  const from = (n) => Array.from({ length: 2 * n + 1 }, (_, i) => i - n);
  const rows = slider({ label: "square, down", values: from(reach[0]), value: 0, onChange: () => draw() });
  const columns = slider({ label: "square, right", values: from(reach[1]), value: 0, onChange: () => draw() });
  const toggle = make("button", { type: "button" });
  const all = make("button", { type: "button", textContent: "Bring all back" });
  area.append(rows.node, columns.node, toggle, all);

  const same = (a, b) => (a[0] === b[0] && a[1] === b[1]) || (a[0] === -b[0] && a[1] === -b[1]);
  const isOff = (square) => model.get("value").off.some((other) => same(square, other));
  const chosen = () => [rows.value, columns.value];

  function flip(square) {
    const { off } = model.get("value");
    const rest = off.filter((other) => !same(square, other));
    model.set("value", { off: rest.length < off.length ? rest : [...off, square] });
    model.save_changes();
  }
  toggle.addEventListener("click", () => flip(chosen()));
  all.addEventListener("click", () => {
    model.set("value", { off: [] });
    model.save_changes();
  });
  bins.addEventListener("click", (event) => {
    const box = bins.getBoundingClientRect();
    const r = Math.floor(((event.clientY - box.top) / box.height) * h);
    const c = Math.floor(((event.clientX - box.left) / box.width) * w);
    [rows.value, columns.value] = squareOf(r, c);
    flip(chosen());
  });

  const squareOf = (r, c) => [Math.round((r - Math.floor(h / 2)) / tile), Math.round((c - Math.floor(w / 2)) / tile)];

  function draw() {
    const { off } = model.get("value");
    const kept = new Uint8Array(h * w).fill(1);
    const cursor = new Uint8Array(h * w);
    for (let r = 0; r < h; r++) {
      for (let c = 0; c < w; c++) {
        const square = squareOf(r, c);
        if (square[0] === rows.value && square[1] === columns.value) cursor[r * w + c] = 1;
        if (off.some((other) => square[0] === other[0] && square[1] === other[1])) {
          kept[r * w + c] = 0;
          const [mr, mc] = mirroredBin(r, c, h, w);
          kept[mr * w + mc] = 0;
        }
      }
    }
    paintSpectrum(bins, power, kept, magma, edgeOf(cursor, h, w));
    paint(left, applyBands(image, brain, spectrum, kept, h, w, false), gray, -1, 1);
    toggle.textContent = isOff(chosen()) ? "Bring this square back" : "Switch this square off";
    const text = off.length
      ? `${off.length} squares are off, each with its twin: ${percent(powerKept(spectrum, kept, h, w))} of the power is left.`
      : "Nothing is off: the image is whole.";
    describe(left, `the filtered slice. ${text}`);
    describe(bins, `the spectrum, switched-off squares black. ${text}`);
    say(text);
  }

  model.on("change:value", draw);
  draw();
  return () => model.off("change:value", draw);
}

export default { render };
