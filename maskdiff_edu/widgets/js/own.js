// The reader's own scan, prepared and scored in the page (own.OwnScan).

const MOST_WORKERS = 4; // each holds an engine of its own, some 50 MB
const AXES = { x: "left to right", y: "back to front", z: "neck to top" };

async function render({ model, el }) {
  const spec = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const scanFile = fileField("scan: T2, without the skull, .nii or .nii.gz");
  const maskFile = fileField("its brain mask, if you have one");
  const caution = make("p", { className: "maskdiff-caution", textContent: spec.caution });
  const drop = make("div", { className: "maskdiff-drop" }, scanFile.node, maskFile.node);
  const notes = make("ul", { className: "maskdiff-notes" });
  const target = make("canvas", { role: "img", "aria-label": "no scan yet" });
  const planes = make("div", { className: "maskdiff-planes", hidden: true }, target);
  stage.classList.add("maskdiff-stacked");
  stage.append(caution, drop, notes, planes);

  const value = model.get("value");
  const onChange = () => bound.changed();
  const shares = Array.from({ length: 101 }, (_, i) => i / 100);
  const controls = {
    model: choices({ label: "network", values: spec.models, value: value.model, onChange }),
    threshold: slider({ label: "scores above", values: shares, value: value.threshold, onChange, show: (v) => v.toFixed(2) }),
    opacity: slider({ label: "opacity", values: shares, value: value.opacity, onChange, show: percent }),
  };
  const onMove = () => view?.moveTo(Object.keys(AXES).map((axis) => places[axis].value));
  const places = Object.fromEntries(
    Object.entries(AXES).map(([axis, label]) => [axis, slider({ label, values: [0], value: 0, onChange: onMove, show: (v) => String(v + 1) })]),
  );
  const run = make("button", { type: "button", textContent: spec.invitation });
  const save = make("button", { type: "button", textContent: "save the map (.nii.gz)" });
  const progress = progressBar();
  const looks = make("div", { className: "maskdiff-controls" }, ...Object.values(places).map((one) => one.node));
  const map = make("div", { className: "maskdiff-controls" }, controls.threshold.node, controls.opacity.node, save);
  area.append(controls.model.node, run, progress.node, looks, map);
  const here = make("p", { className: "maskdiff-here" });
  area.after(here);

  let lab = null; // {places, tools, labs}, once there is a scan
  let view = null; // once there is one to see
  let prepared = null; // {scan, slices, notes}
  let used = {}; // the files that were read last
  let found = null; // {name, threshold, anomaly, volume}
  let noView = ""; // why there is nothing to see
  let turn = 0; // of what the reader wants: what was begun before it is dropped
  let isRunning = false;

  function showParts() {
    looks.hidden = planes.hidden = here.hidden = !(prepared && view);
    map.hidden = !found;
    run.disabled = !prepared;
    run.textContent = isRunning ? "stop" : spec.invitation; // one button, so that it keeps the focus
    progress.node.hidden = !isRunning;
    notes.replaceChildren(...(prepared?.notes ?? []).map((note) => make("li", {}, ...words(note))));
  }

  // Runs `work` unless the reader has wanted something else meanwhile; what fails is said.
  async function inTurn(work) {
    const mine = ++turn;
    const isStopped = () => turn !== mine;
    isRunning = false;
    try {
      await work(isStopped);
      if (isStopped()) return;
    } catch (error) {
      if (isStopped()) return;
      turn += 1; // so that other workers stop as well
      say(error.message);
    }
    isRunning = false;
    showParts();
  }

  function open() {
    return inTurn(async (isStopped) => {
      prepared = found = null;
      showParts();
      const scan = scanFile.file;
      if (scan !== used.scan && maskFile.file === used.mask) maskFile.give(null); // another scan's
      const mask = maskFile.file;
      if (!scan) return say(mask ? "Now the scan that this brain mask belongs to." : spec.hint);
      used = { scan, mask };
      say(`Reading ${scan.name} …`);
      lab ??= await openTools(model);
      const read = await lab.labs[0].prepare({ scan, mask });
      if (isStopped()) return;
      prepared = read;
      await showScan();
      if (isStopped()) return;
      say(`${scanInWords(read)} ${noView}`);
    });
  }

  async function showScan() {
    const { scan, slices } = prepared;
    try {
      await lab.places.bring("viewer");
      planes.hidden = false; // its size is that of the picture
      view ??= await lab.tools.openViewer(lab.places, target, moved);
      await view.showScan({ ...scan, data: scan.image }, slices);
    } catch (error) {
      view = null;
      noView = error.message ?? "The viewer did not start; the map can be computed and saved without.";
    }
  }

  function moved({ shape, at, values }) {
    Object.values(places).forEach((one, i) => {
      if (one.values.length !== shape[i]) one.setValues(Array.from({ length: shape[i] }, (_, k) => k), at[i]);
      else one.value = at[i];
    });
    const [intensity, score] = values;
    const told = score === undefined ? "" : `, score ${score.toFixed(2)}`;
    here.textContent = `At the crosshair: intensity ${Number(intensity.toPrecision(3))}${told}.`;
    describe(target, `${prepared?.scan.name ?? "the scan"} from three sides. ${here.textContent}`);
  }

  run.addEventListener("click", () => (isRunning ? stop() : look()));
  const look = () =>
    inTurn(async (isStopped) => {
      const name = controls.model.value;
      found = null;
      view?.removeMap();
      isRunning = true;
      showParts();
      progress.show("loading the network", 0, 1);
      say(`\`${name}\` redraws ${prepared.slices.size.n} slices.`);
      await lab.places.bring(name);
      const { threshold } = await lab.labs[0].open(name, (...now) => progress.show("loading the network", ...now));
      progress.show(`slice 0 of ${prepared.slices.size.n}`, 0, 1);
      const onSlice = (done, of) => isStopped() || progress.show(`slice ${done} of ${of}`, done, of);
      const result = await lab.tools.detect(lab.labs, name, { ...prepared, seed: 0 }, onSlice, isStopped);
      if (!result || isStopped()) return;
      found = { name, threshold, ...result };
      const { opacity } = controls;
      await view?.showMap({ ...prepared.scan, data: found.volume }, { threshold, opacity: opacity.value });
      controls.threshold.value = Math.round(100 * threshold) / 100;
      onChange();
    });
  function stop() {
    turn += 1;
    isRunning = false;
    showParts();
    say("Stopped: there is no map.");
  }
  save.addEventListener("click", async () => {
    const { scan } = prepared;
    const file = await lab.tools.niftiFile({ ...scan, data: found.volume });
    const name = `${scan.name}_anomaly_${found.name}.nii.gz`;
    const url = URL.createObjectURL(file);
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    say(`Saved as ${name}, on the scan's own grid.`);
  });
  scanFile.input.addEventListener("change", open);
  maskFile.input.addEventListener("change", open);
  takeDropped(drop, (files, target) => {
    if (files.length > 1) return say(`expected one file, got ${files.length}; scan and brain mask have a field each`);
    (maskFile.node.contains(target) ? maskFile : scanFile).give(files[0]);
    open();
  });

  function draw() {
    if (!found) return;
    const [threshold, opacity] = [controls.threshold.value, controls.opacity.value];
    view?.dress({ threshold, opacity });
    say(mapInWords({ ...found, ...prepared }, threshold, lab.tools.determinant));
  }

  const bound = bind(model, controls, draw);
  showParts();
  say(spec.hint);
  return () => {
    turn += 1;
    bound.stop();
    view?.close();
    lab?.labs.forEach((one) => one.close());
  };
}

// The lab's modules, and workers to ask; a worker starts when it is first asked.
async function openTools(model) {
  const places = await findPlaces(model);
  const tools = await importLab(places, ["client", "volume", "nifti", "affine", "viewer"]);
  const count = Math.max(1, Math.min(MOST_WORKERS, navigator.hardwareConcurrency ?? 1));
  return { places, tools, labs: Array.from({ length: count }, () => tools.openLab(places)) };
}

// A file to choose, under words that say which.
function fileField(label) {
  const id = newId("file");
  const input = make("input", { type: "file", id, accept: ".nii,.gz" });
  return {
    input,
    node: make("div", { className: "maskdiff-control" }, make("label", { for: id, textContent: label }), input),
    get file() {
      return input.files[0] ?? null;
    },
    // What was dropped stands in the field as what was chosen does.
    give: (file) => {
      const all = new DataTransfer();
      if (file) all.items.add(file);
      input.files = all.files;
    },
  };
}

// Files dropped anywhere on an element.
function takeDropped(node, take) {
  const over = (isOver) => (event) => {
    event.preventDefault(); // the browser would open the file
    node.classList.toggle("maskdiff-over-drop", isOver);
  };
  node.addEventListener("dragover", over(true));
  node.addEventListener("dragleave", over(false));
  node.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files], event.target);
  });
}

function progressBar() {
  const id = newId("progress");
  const bar = make("progress", { id, max: 1, value: 0 });
  const label = make("label", { for: id });
  return {
    node: make("div", { className: "maskdiff-control maskdiff-progress", hidden: true }, label, bar),
    show: (what, done, of) => {
      label.textContent = what;
      bar.value = done / of;
    },
  };
}

function scanInWords({ scan, slices }) {
  const { n } = slices.size;
  return `${scan.name}: ${scan.shape.join(" x ")} voxels, ${n} slices of 2 mm with brain in them.`;
}

function mapInWords({ name, threshold: own, volume, scan }, threshold, determinant) {
  const [millilitre, limit] = [Math.abs(determinant(scan.affine)) / 1000, Math.fround(threshold)];
  let [above, brain, most] = [0, 0, 0];
  for (let i = 0; i < volume.length; i++) {
    if (volume[i] > limit) above += 1;
    if (volume[i] > most) most = volume[i];
    brain += scan.brain[i];
  }
  return (
    `\`${name}\`: ${(above * millilitre).toFixed(1)} ml of a brain of ${(brain * millilitre).toFixed(0)} ml score ` +
    `above ${threshold.toFixed(2)}, and the highest score is ${most.toFixed(2)}. The model's own threshold, ` +
    `${own.toFixed(2)}, was chosen on synthetic brains. For teaching, not for diagnosis.`
  );
}

export default { render };
