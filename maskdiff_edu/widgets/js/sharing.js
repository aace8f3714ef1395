// What is seen, as a link that restores it, and as the library's own code.

const LINK = "#lab-"; // and base64url: themes take a hash for a selector, so it has to be a name
const MOST_STROKES = 200;
const OWN = "own"; // each network's own threshold, as live.py calls it

// The address of this page with all that the controls say.
function linkTo(value) {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const text = btoa(String.fromCharCode(...bytes));
  return LINK + text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// What a link's hash says, as far as this figure knows it; null if it says nothing. A link may come
// from anybody: whatever does not fit is left out.
function valueFromLink(hash, spec, value) {
  if (!hash.startsWith(LINK)) return null;
  let told;
  try {
    const text = atob(hash.slice(LINK.length).replaceAll("-", "+").replaceAll("_", "/"));
    told = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  } catch (error) {
    return null;
  }
  const lists = {
    subject: spec.subjects, slice: spec.slices, tool: spec.tools, radius: spec.radii,
    brightness: spec.brightness, t: spec.times, draws: spec.draws, seed: spec.seeds,
    threshold: spec.thresholds, soft: [true, false], outline: [true, false],
  };
  const found = { ...value };
  for (const [name, values] of Object.entries(lists)) {
    if (values.includes(told?.[name])) found[name] = told[name];
  }
  const models = spec.models.filter((name) => Array.isArray(told?.models) && told.models.includes(name));
  if (models.length) found.models = models;
  if (Array.isArray(told?.strokes)) found.strokes = told.strokes.slice(0, MOST_STROKES).filter((s) => isStroke(s, spec));
  return found;
}

function isStroke(stroke, { tools, radii }) {
  const isPoint = (p) => Array.isArray(p) && p.length === 2 && p.every(Number.isInteger);
  return (
    tools.includes(stroke?.tool) &&
    radii.includes(stroke.radius) &&
    Math.abs(stroke.brightness ?? 0) <= 1 &&
    Array.isArray(stroke.points) &&
    stroke.points.every(isPoint)
  );
}

// Python that does the same with the library: the same slice, painting and settings. Its noise is
// the library's own, so its numbers differ as those of two seeds do.
function codeFor(value, spec, thresholds) {
  const { subject, slice, t, draws, seed, strokes } = value;
  return [
    "import torch",
    "from maskdiff_edu.brains import make_member",
    "from maskdiff_edu.detection import build_detector, dice, postprocess, residual",
    "from maskdiff_edu.scans import to_slices",
    "",
    `slices = ${spec.recipes[subject] || "...  # your own"}`,
    `x_0, brain = slices.images[[${slice}]], slices.brain_masks[[${slice}]]`,
    `lesion = brain & False if slices.lesion_masks is None else brain & slices.lesion_masks[[${slice}]]`,
    "painted, marked = x_0.clone(), lesion.clone()",
    ...(strokes.length ? COVER : []),
    ...strokes.flatMap(strokeAsCode),
    "",
    `thresholds = {${Object.entries(thresholds).map(([name, at]) => `"${name}": ${at.toPrecision(4)}`).join(", ")}}`,
    "for name, threshold in thresholds.items():",
    `    detector = build_detector(name, t=${t}, draws=${draws}, seed=${seed})`,
    "    x_0_hat = detector.reconstruct(painted)",
    "    scores = residual(painted, x_0_hat, detector.settings.residual)",
    "    scores = postprocess(scores, brain, detector.settings.postprocessing)",
    '    print(name, "Dice", dice(scores > threshold, marked))',
  ].join("\n");
}

const COVER = `
rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")

def cover(points, radius, soft=False):
    """How much of each brain pixel some discs cover, 0 to 1."""
    far = torch.stack([torch.hypot(rows - r, columns - c) for r, c in points]).amin(0) / radius
    return brain * ((2 * (1 - far)).clamp(0, 1) if soft else (far <= 1).float())
`.split("\n");

function strokeAsCode(stroke) {
  const soft = stroke.soft && stroke.tool === "lesion" ? ", soft=True" : "";
  const share = `share = cover(${JSON.stringify(stroke.points)}, ${stroke.radius}${soft})`;
  if (stroke.tool === "rub out") {
    return [share, "painted = torch.where(share > 0, x_0, painted)", "marked = torch.where(share > 0, lesion, marked)"];
  }
  return [share, `painted = painted + share * (${brightnessOf(stroke)} - painted)`, "marked = marked | (share >= 0.5)"];
}

// Below the figure: the code, folded, and the link. Both follow the controls when they rest.
function liveExtras(figure) {
  const code = make("code", {});
  const link = make("a", { textContent: "a link to what you see" });
  const place = make("p", {}, "Keep or send ", link, ".");
  figure.append(
    make("details", {}, make("summary", { textContent: "Show me the code" }), make("pre", { tabIndex: 0 }, code)),
    place,
  );
  place.hidden = true;
  return {
    update: (value, spec, thresholds, places) => {
      code.textContent = codeFor(value, spec, thresholds);
      link.href = linkTo(value);
      place.hidden = !places.isSite; // a notebook's page cannot restore it
    },
  };
}

// A link to a state moves the controls. One that is followed on the page asks the networks, too.
function followLinks(model, figure, start) {
  const follow = () => {
    const hash = globalThis.location?.hash ?? "";
    const found = valueFromLink(hash, model.get("spec"), model.get("value"));
    if (!found) return false;
    model.set("value", found);
    model.save_changes();
    figure.scrollIntoView({ block: "start" });
    return true;
  };
  const onChange = () => follow() && start();
  globalThis.addEventListener("hashchange", onChange);
  follow();
  return () => globalThis.removeEventListener("hashchange", onChange);
}
