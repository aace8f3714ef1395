// Trained networks, alive in the page (live.LiveModel).

const PREVIEW = 1; // draws while something moves; all of them when it rests
const REST = 250; // milliseconds
const BRUSH = ["tool", "radius", "brightness", "soft"]; // they change nothing before the next stroke

async function render({ model, el }) {
  const spec = model.get("spec");
  const { figure, stage, controls: area, say } = shell(el, model);
  const parts = await unpack(model);
  const { gray, magma } = parts;
  const [, h, w] = parts.images.shape;
  const pictures = {
    painted: canvas(h, w, "the slice"),
    noised: canvas(h, w, "nothing noised yet"),
  };
  stage.append(
    make("div", { className: "maskdiff-column" }, panel("the slice: paint on it", pictures.painted), panel("with noise", pictures.noised)),
  );
  const columns = Object.fromEntries(spec.models.map((name) => [name, answerColumn(name, h, w, spec)]));
  stage.append(...Object.values(columns).map(({ node }) => node));

  const { controls, nodes } = liveControls(spec, model.get("value"), (name) => {
    if (BRUSH.includes(name)) pad.peek();
    bound.changed();
  });
  const strokes = { value: model.get("value").strokes };
  const setStrokes = (list) => {
    strokes.value = list;
    bound.changed();
  };
  const run = make("button", { type: "button", textContent: spec.invitation });
  const undo = make("button", { type: "button", textContent: "undo" });
  const clear = make("button", { type: "button", textContent: "clear" });
  undo.addEventListener("click", () => setStrokes(strokes.value.slice(0, -1)));
  clear.addEventListener("click", () => setStrokes([]));
  area.append(run, ...nodes, undo, clear);
  const extras = spec.full ? liveExtras(figure) : null;

  const brush = () => Object.fromEntries(BRUSH.filter((name) => name in controls).map((name) => [name, controls[name].value]));
  const pad = paintPad(pictures.painted, h, w, {
    begin: (point) => setStrokes([...strokes.value, { ...brush(), points: [point] }]),
    go: (point) => {
      const last = strokes.value.at(-1);
      setStrokes([...strokes.value.slice(0, -1), { ...last, points: [...last.points, point] }]);
    },
    look: () => drawPainted(),
  });

  // The slice that is chosen, and what was painted on it.
  function scene() {
    const { subject, slice } = model.get("value");
    const at = spec.subjects.indexOf(subject) * spec.slices.length + spec.slices.indexOf(slice);
    const image = Float32Array.from(sliceOf(parts.images, at), (v) => v / 127.5 - 1);
    const brain = sliceOf(parts.brains, at);
    const lesion = sliceOf(parts.lesions, at);
    return { image, brain, ...replay(image, brain, lesion, strokes.value, h, w), lesion };
  }

  function outlineOf({ marked }) {
    return model.get("value").outline ? edgeOf(marked, h, w) : new Uint8Array(h * w);
  }

  // At once, and without a network; the brush too, where it was just changed or is about to paint.
  function drawPainted() {
    const now = scene();
    const { at, isShown, isPeeked } = pad.state;
    const stroke = { ...brush(), points: [at] };
    const shown = isPeeked ? replay(now.painted, now.brain, now.marked, [stroke], h, w).painted : now.painted;
    const outline = outlineOf(now);
    if (isShown) {
      const ring = Uint8Array.from(coverage({ ...stroke, soft: false }, h, w));
      edgeOf(ring, h, w).forEach((v, i) => (outline[i] |= v));
    }
    paint(pictures.painted, shown, gray, -1, 1, outline);
  }

  let lab = null; // {client, tools, places}, once the reader asked for it
  let timer = 0;
  let isBusy = false;
  let isStale = false; // something changed since the networks were asked
  let isResting = false;

  function draw() {
    strokes.value = model.get("value").strokes ?? [];
    undo.disabled = clear.disabled = strokes.value.length === 0;
    const { models, tool } = model.get("value");
    controls.brightness.disabled = controls.soft.disabled = tool !== "lesion";
    for (const { node, name } of Object.values(columns)) node.hidden = !models.includes(name);
    drawPainted();
    if (!lab) return;
    say("Working …");
    isResting = false;
    follow();
    clearTimeout(timer);
    timer = setTimeout(() => {
      isResting = true;
      follow();
    }, REST);
  }

  // Asks the networks in turn, and again if something changed meanwhile; one such loop at a time.
  async function follow() {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    while (isStale) {
      isStale = false;
      try {
        await askAll(isResting ? controls.draws.value : PREVIEW, isResting);
      } catch (error) {
        say(error.message);
      }
    }
    isBusy = false;
  }

  async function askAll(draws, isFinal) {
    const told = [];
    for (const name of model.get("value").models) {
      if (isFinal && isStale) return; // the newest picture first
      told.push(await askOne(name, draws, isFinal));
    }
    if (!isFinal || isStale) return;
    const { t } = model.get("value");
    say(`t = ${t}, ${draws === 1 ? "one draw" : `mean of ${draws} draws`}. ${told.map(({ words }) => words).join(" ")}`);
    const thresholds = Object.fromEntries(told.map(({ name, threshold }) => [name, threshold]));
    extras?.update(model.get("value"), spec, thresholds, lab.places);
  }

  async function askOne(name, draws, isFinal) {
    await lab.places.bring(name);
    const manifest = await lab.client.open(name, (loaded, total) => say(`Loading \`${name}\`: ${percent(loaded / total)}.`));
    const now = scene();
    const { t, seed, threshold } = model.get("value");
    const { xT, x0Hat } = await lab.client.redraw(name, { x0: now.painted, t, draws, seed });
    paint(pictures.noised, xT, gray, -1, 1);
    describe(pictures.noised, `the slice with the noise of t = ${t}`);
    const found = measureAnswer(lab.tools, manifest, { ...now, x0Hat, threshold, full: spec.full });
    showAnswer(columns[name], found, { painted: now.painted, outline: outlineOf(now), gray, magma, isFinal });
    return { name, words: answerInWords(name, found), threshold: threshold === OWN ? manifest.threshold : threshold };
  }

  async function start() {
    if (lab || run.disabled) return;
    run.disabled = true;
    figure.setAttribute("aria-busy", "true");
    try {
      lab = await openTools(model);
      run.hidden = true;
      draw();
    } catch (error) {
      say(error.message);
      run.disabled = false;
    }
    figure.removeAttribute("aria-busy");
  }
  run.addEventListener("click", start);

  const bound = bind(model, { ...controls, strokes }, draw);
  const stopLinks = spec.full ? followLinks(model, figure, start) : () => {};
  say(spec.hint);
  return () => {
    bound.stop();
    stopLinks();
    clearTimeout(timer);
    lab?.client.close();
  };
}

// The lab's modules, and a worker to ask.
async function openTools(model) {
  const places = await findPlaces(model);
  const { openLab, ...tools } = await importLab(places, ["client", "anomaly"]);
  return { client: openLab(places), tools, places };
}

// All controls by name, and those that this figure shows; the others keep what they say first.
function liveControls(spec, value, onChange) {
  const told = (name) => ({ value: value[name], onChange: () => onChange(name) });
  const pixels = (v) => `${v} pixels`;
  const controls = {
    subject: choices({ label: "subject", values: spec.subjects, ...told("subject") }),
    slice: slider({ label: "slice", values: spec.slices, ...told("slice") }),
    models: several({ label: "networks", values: spec.models, ...told("models") }),
    tool: choices({ label: "brush", values: spec.tools, ...told("tool") }),
    radius: slider({ label: "its radius", values: spec.radii, show: pixels, ...told("radius") }),
    brightness: slider({ label: "brightness of the lesion", values: spec.brightness, ...told("brightness") }),
    soft: checkbox({ label: "soft edge", ...told("soft") }),
    t: slider({ label: "noise, t", values: spec.times, ...told("t") }),
    draws: slider({ label: "draws", values: spec.draws, ...told("draws") }),
    seed: slider({ label: "seed", values: spec.seeds, ...told("seed") }),
    threshold: slider({
      label: "threshold", values: spec.thresholds, ...told("threshold"),
      show: (v) => (v === OWN ? "each network's own" : String(v)),
    }),
    outline: checkbox({ label: "show the outline", ...told("outline") }),
  };
  const isOffered = {
    subject: spec.subjects.length > 1,
    slice: spec.slices.length > 1,
    models: spec.full && spec.models.length > 1,
    tool: true,
    radius: true,
    t: true,
  };
  const shown = Object.keys(controls).filter((name) => isOffered[name] ?? spec.full);
  return { controls, nodes: shown.map((name) => controls[name].node) };
}

export default { render };
