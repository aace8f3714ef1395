// A small line plot that follows the sliders, as SVG: sharp at every size, readable by assistive
// tools, and in the page's own text colour, light or dark.

// Told apart by dashes as well as by colour; at least 3:1 against white and against near-black.
const LINE_STYLES = [
  { stroke: "#0a7cc0", dash: "" },
  { stroke: "#d55e00", dash: "7 4" },
  { stroke: "#009e73", dash: "2 3" },
  { stroke: "#c06a9a", dash: "9 3 2 3" },
];

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Round numbers from low to high, about `count` of them; powers of ten on a log axis.
function ticks(low, high, log, count = 5) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9);
    const last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first + 1) / count));
    const powers = [];
    for (let p = first; p <= last; p += every) powers.push(10 ** p);
    return powers;
  }
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const marks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) {
    marks.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  }
  return marks;
}

function shortNumber(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e5 || size < 1e-3) return v.toExponential(0).replace("e+", "e");
  return String(Number(v.toPrecision(3)));
}

// `lines` is [{name, y}]. Returns {node, update(x, highlight), setLines(lines)}; without an x
// (null or undefined) `update` marks no place.
function linePlot({ x, lines, xlabel, ylabel, log = false, yRange = null, label }) {
  const [width, height, left, right, top, bottom] = [340, 240, 54, 20, 12, 44]; // right: half of a tick label such as 10000
  const root = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "maskdiff-plot",
    role: "img",
    "aria-label": label ?? `${ylabel} against ${xlabel}`,
  });
  const finite = lines.flatMap((line) => line.y).filter((v) => Number.isFinite(v) && (!log || v > 0));
  let [low, high] = yRange ?? [Math.min(...finite), Math.max(...finite)];
  if (!yRange && !log) low = Math.min(low, 0);
  if (low === high) high = low + 1;
  const [x0, x1] = [x[0], x[x.length - 1]];
  const toX = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (width - left - right);
  const scale = log ? Math.log10 : (v) => v;
  const toY = (v) =>
    height - bottom - ((scale(v) - scale(low)) / (scale(high) - scale(low))) * (height - top - bottom);

  for (const v of ticks(low, high, log)) {
    root.append(
      svg("line", { x1: left, x2: width - right, y1: toY(v), y2: toY(v), class: "maskdiff-grid" }),
      svg("text", { x: left - 6, y: toY(v) + 4, "text-anchor": "end" }, shortNumber(v)),
    );
  }
  for (const v of ticks(x0, x1, false)) {
    root.append(svg("text", { x: toX(v), y: height - bottom + 16, "text-anchor": "middle" }, shortNumber(v)));
  }
  root.append(
    svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xlabel),
    svg("text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle",
                  transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, ylabel),
  );

  const marker = svg("line", { y1: top, y2: height - bottom, class: "maskdiff-marker" });
  root.append(marker);
  const drawn = lines.map(({ name }, i) => {
    const style = LINE_STYLES[i % LINE_STYLES.length];
    const path = svg("path", { fill: "none", stroke: style.stroke, "stroke-dasharray": style.dash });
    const dot = svg("circle", { r: 4.5, fill: style.stroke });
    root.append(path, dot);
    return { name, path, dot, style, ys: [] };
  });

  function setLines(newLines) {
    drawn.forEach((line, n) => {
      line.ys = newLines[n].y;
      let pen = "M";
      const steps = [];
      line.ys.forEach((y, i) => {
        if (!Number.isFinite(y) || (log && y <= 0)) return void (pen = "M");
        steps.push(`${pen}${toX(x[i]).toFixed(1)} ${toY(y).toFixed(1)}`);
        pen = "L";
      });
      line.path.setAttribute("d", steps.join(""));
    });
  }

  function update(at, highlight) {
    const isMarked = at != null;
    marker.setAttribute("visibility", isMarked ? "visible" : "hidden");
    if (isMarked) {
      marker.setAttribute("x1", toX(at));
      marker.setAttribute("x2", toX(at));
    }
    for (const { name, path, dot, ys } of drawn) {
      const faded = highlight !== undefined && name !== highlight;
      const between = isMarked ? interpolate(x, ys, at) : NaN;
      const y = log && between <= 0 ? NaN : between;
      path.setAttribute("stroke-width", faded ? 1.5 : 2.5);
      path.setAttribute("opacity", faded ? 0.55 : 1);
      dot.setAttribute("opacity", faded || !Number.isFinite(y) ? 0 : 1);
      if (Number.isFinite(y)) {
        dot.setAttribute("cx", toX(at));
        dot.setAttribute("cy", toY(y));
      }
    }
  }

  setLines(lines);
  const node = make("div", { className: "maskdiff-panel maskdiff-plot-panel" }, root);
  if (drawn.length > 1) node.append(legend(drawn));
  return { node, update, setLines };
}

function legend(drawn) {
  const list = make("ul", { className: "maskdiff-legend" });
  for (const { name, style } of drawn) {
    const sample = svg("svg", { viewBox: "0 0 28 8", width: 28, height: 8, "aria-hidden": "true" },
      svg("line", { x1: 0, x2: 28, y1: 4, y2: 4, stroke: style.stroke, "stroke-width": 2.5,
                    "stroke-dasharray": style.dash }));
    list.append(make("li", {}, sample, ` ${name}`));
  }
  return list;
}

function interpolate(x, y, at) {
  const found = x.findIndex((v) => v >= at);
  const i = Math.max(found < 0 ? x.length - 1 : found, 1);
  const share = Math.min(Math.max((at - x[i - 1]) / (x[i] - x[i - 1] || 1), 0), 1);
  return y[i - 1] + share * (y[i] - y[i - 1]);
}
