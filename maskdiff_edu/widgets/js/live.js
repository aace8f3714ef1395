// A trained network, alive in the page (live.LiveModel).

const NOISED_PREVIEW = 1; // draws while the brush moves; all of them when it rests
const REST = 250; // milliseconds
const BAR_TOP = 0.5; // the error at which a bar is full

async function render({ model, el }) {
  const spec = model.get("spec");
  const { figure, stage, controls: area, say } = shell(el, model);
  const { image, brain, gray, magma } = await unpack(model);
  const [h, w] = image.shape;
  const pictures = livePictures(stage, h, w);
  const bars = errorBars(stage);
  const run = make("button", { type: "button", textContent: spec.invitation });
  const undo = make("button", { type: "button", textContent: "undo" });
  const clear = make("button", { type: "button", textContent: "clear" });

  const value = model.get("value");
  const onChange = () => bound.changed();
  const controls = {
    model: choices({ label: "network", values: spec.models, value: value.model, onChange }),
    tool: choices({ label: "brush", values: spec.tools, value: value.tool, onChange }),
    radius: slider({ label: "its radius", values: spec.radii, value: value.radius, onChange, show: (v) => `${v} pixels` }),
    t: slider({ label: "noise, t", values: spec.times, value: value.t, onChange }),
    draws: slider({ label: "draws", values: spec.draws, value: value.draws, onChange }),
    seed: slider({ label: "seed", values: spec.seeds, value: value.seed, onChange }),
  };
  area.append(run, ...Object.values(controls).map((control) => control.node), undo, clear);
  const strokes = { value: value.strokes };
  undo.addEventListener("click", () => setStrokes(strokes.value.slice(0, -1)));
  clear.addEventListener("click", () => setStrokes([]));

  let lab = null; // {client, tools, places}, once the reader asked for it
  let timer = 0;
  let isBusy = false;
  let waiting = null; // what to redraw next: the newest only
  const cursor = brushOn(pictures.painted, h, w, {
    begin: (point) => setStrokes([...strokes.value, { tool: controls.tool.value, radius: controls.radius.value, points: [point] }]),
    go: (point) => {
      const last = strokes.value.at(-1);
      setStrokes([...strokes.value.slice(0, -1), { ...last, points: [...last.points, point] }]);
    },
    look: () => drawPainted(),
  });

  function setStrokes(list) {
    strokes.value = list;
    bound.changed();
  }

  // The slice as it is painted: at once, and without a network.
  function drawPainted() {
    if (!lab) {
      paint(pictures.painted, image, gray, -1, 1);
      return { painted: image, marked: new Uint8Array(h * w) };
    }
    const found = lab.tools.replay(image, brain, strokes.value, h, w);
    const ring = cursor.isShown ? lab.tools.disc(...cursor.at, controls.radius.value, h, w) : [];
    const outline = new Uint8Array(h * w);
    for (const i of ring) outline[i] = 1;
    paint(pictures.painted, found.painted, gray, -1, 1, edgeOf(outline, h, w));
    return found;
  }

  function draw() {
    const { strokes: list } = model.get("value");
    strokes.value = list ?? [];
    undo.disabled = clear.disabled = strokes.value.length === 0;
    drawPainted();
    if (!lab) return;
    ask(NOISED_PREVIEW);
    clearTimeout(timer);
    timer = setTimeout(() => ask(controls.draws.value), REST);
  }

  async function ask(draws) {
    waiting = draws;
    if (isBusy) return;
    isBusy = true;
    while (waiting !== null) {
      const now = waiting;
      waiting = null;
      try {
        await redraw(now);
      } catch (error) {
        say(error.message);
      }
    }
    isBusy = false;
  }

  async function redraw(draws) {
    const name = controls.model.value;
    const { painted, marked } = lab.tools.replay(image, brain, strokes.value, h, w);
    const t = controls.t.value;
    await lab.places.bring(name);
    await lab.client.open(name, (loaded, total) => say(`Loading \`${name}\`: ${percent(loaded / total)}.`));
    const { xT, x0Hat } = await lab.client.redraw(name, { x0: painted, t, draws, seed: controls.seed.value });
    const redrawn = x0Hat.map((v, i) => (brain[i] ? v : -1));
    const error = lab.tools.residual(painted, redrawn, "absolute");
    paint(pictures.noised, xT, gray, -1, 1);
    paint(pictures.redrawn, redrawn, gray, -1, 1);
    paint(pictures.residual, error, magma, 0, BAR_TOP);
    const found = lab.tools.insideAndOutside(error, marked, brain);
    bars.show(found);
    const truth = lab.tools.insideAndOutside(lab.tools.residual(image, redrawn, "absolute"), marked, brain);
    const words = inWords({ name, t, draws, found, truth });
    describe(pictures.noised, `the slice with the noise of t = ${t}`);
    describe(pictures.redrawn, `what ${name} draws from it. ${words}`);
    describe(pictures.residual, `where the two differ. ${words}`);
    say(words);
  }

  run.addEventListener("click", async () => {
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
  });

  const bound = bind(model, { ...controls, strokes }, draw);
  say(spec.hint);
  return () => {
    bound.stop();
    clearTimeout(timer);
    lab?.client.close();
  };
}

// The lab's modules, and a worker to ask.
async function openTools(model) {
  const places = await findPlaces(model);
  try {
    const names = ["client", "anomaly", "brush"];
    const found = await Promise.all(names.map((name) => import(places.at(`lab/${name}.js`))));
    const [{ openLab }, ...tools] = found;
    return { client: openLab(places), tools: Object.assign({}, ...tools), places };
  } catch (error) {
    throw new Error(
      "expected the network's scripts from this page's site, got none; a page that was opened from " +
        `disk cannot run them: read the book from a server (${error.message})`,
    );
  }
}

function livePictures(stage, h, w) {
  const titles = {
    painted: "the slice: paint on it",
    noised: "with noise",
    redrawn: "redrawn by the network",
    residual: "how far they differ",
  };
  return Object.fromEntries(
    Object.entries(titles).map(([name, title]) => {
      const picture = canvas(h, w, title);
      stage.append(panel(title, picture));
      return [name, picture];
    }),
  );
}

// Two bars on one scale, so that they can be compared at a glance.
function errorBars(stage) {
  const rows = Object.fromEntries(
    Object.entries({ inside: "where you painted", outside: "elsewhere in the brain" }).map(([name, label]) => {
      const fill = make("div", { className: "maskdiff-bar-fill" });
      const number = make("span", { textContent: "–" });
      const row = make("div", {}, make("div", {}, `${label}: `, number), make("div", { className: "maskdiff-bar" }, fill));
      return [name, { row, fill, number }];
    }),
  );
  stage.append(panel("mean difference", make("div", {}, ...Object.values(rows).map(({ row }) => row))));
  return {
    show: (found) => {
      for (const [name, { fill, number }] of Object.entries(rows)) {
        const size = found[name];
        number.textContent = Number.isNaN(size) ? "nothing painted" : size.toFixed(2);
        fill.style.width = `${100 * Math.min(1, (size || 0) / BAR_TOP)}%`;
      }
    },
  };
}

function inWords({ name, t, draws, found, truth }) {
  const from = `\`${name}\`, t = ${t}, ${draws === 1 ? "one draw" : `mean of ${draws} draws`}`;
  const elsewhere = `${found.outside.toFixed(2)} in the rest of the brain`;
  if (!found.pixels) return `${from}: what it draws differs from the slice by ${elsewhere}.`;
  return (
    `${from}: what it draws differs from the ${found.pixels} painted pixels by ` +
    `${found.inside.toFixed(2)}, and by ${elsewhere}. From what was there before you painted it ` +
    `differs by ${truth.inside.toFixed(2)}.`
  );
}

// Painting by mouse, touch and pen, or by keys: arrows move a cursor, Space paints, Shift is quick.
function brushOn(target, h, w, { begin, go, look }) {
  const state = { at: [Math.floor(h / 2), Math.floor(w / 2)], isShown: false };
  let isDown = false;
  target.tabIndex = 0;
  target.setAttribute("role", "application");
  target.classList.add("maskdiff-clickable");
  target.style.touchAction = "none";
  target.setAttribute("aria-label", "the slice: arrow keys move the brush, Shift makes it quick, Space paints");

  function pointAt(event) {
    const box = target.getBoundingClientRect();
    const inside = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
    return [inside((event.clientY - box.top) / box.height, h), inside((event.clientX - box.left) / box.width, w)];
  }
  target.addEventListener("pointerdown", (event) => {
    isDown = true;
    target.setPointerCapture(event.pointerId);
    state.at = pointAt(event);
    begin(state.at);
  });
  target.addEventListener("pointermove", (event) => {
    state.at = pointAt(event);
    state.isShown = true;
    if (isDown) go(state.at);
    else look();
  });
  target.addEventListener("pointerup", () => (isDown = false));
  target.addEventListener("pointercancel", () => (isDown = false));
  const hide = () => {
    state.isShown = false;
    look();
  };
  target.addEventListener("pointerleave", hide);
  target.addEventListener("blur", hide);
  target.addEventListener("focus", () => {
    state.isShown = true;
    look();
  });
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  target.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault(); // the page would scroll
    if (!move) return begin(state.at);
    const far = event.shiftKey ? 8 : 2;
    const to = (i, n) => Math.min(n - 1, Math.max(0, state.at[i] + far * move[i]));
    state.at = [to(0, h), to(1, w)];
    state.isShown = true;
    look();
  });
  return state;
}

export default { render };
