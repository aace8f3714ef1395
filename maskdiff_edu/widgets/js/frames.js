// Pictures that sliders choose from (frames.py).

async function render({ model, el }) {
  const spec = model.get("spec");
  const { figure, stage, controls: area, say } = shell(el, model);
  const parts = await unpack(model);
  const addresses = {}; // of pictures that were shown once
  const fresh = {}; // frames that the kernel made: key -> {caption, lines, urls}

  const pictures = spec.panels.map((title) => {
    const picture = make("img", { className: "maskdiff-picture dark-light" }); // no dark filter
    stage.append(panel(title, picture));
    return picture;
  });
  const plots = spec.plots.map((plot) => {
    const drawn = linePlot(plot);
    stage.append(drawn.node);
    return { ...plot, ...drawn };
  });

  const controls = {};
  for (const axis of spec.axes) {
    const start = model.get("value")[axis.name];
    const kind = axis.slider ? slider : choices;
    const onChange = () => bound.changed();
    controls[axis.name] = kind({ label: axis.label, values: axis.values, value: start, onChange });
    if (axis.values.length > 1) area.append(controls[axis.name].node);
  }

  const address = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "image/webp" }));
  const position = () => Object.fromEntries(spec.axes.map((a) => [a.name, controls[a.name].value]));
  const storedKey = () =>
    spec.axes.map((axis) => axis.values.indexOf(controls[axis.name].value)).join(",");

  function mark(now) {
    for (const plot of plots) plot.update(now[plot.axis], plot.highlight ? now[plot.highlight] : undefined);
  }

  // `lines` holds for each plot the lines that follow the controls, or null where they stay.
  function show(urls, { caption, lines }) {
    lines?.forEach((moved, i) => moved && plots[i].setLines(moved));
    mark(position());
    pictures.forEach((picture, i) => {
      picture.src = urls[i];
      picture.alt = `${spec.panels[i]}: ${caption}`;
    });
    say(caption);
    figure.removeAttribute("aria-busy");
  }

  function draw() {
    const now = position();
    mark(now);
    const stored = spec.frames[storedKey()];
    if (stored) {
      const urls = stored.pictures.map((name) => (addresses[name] ??= address(parts[name])));
      return show(urls, stored);
    }
    const key = JSON.stringify(now);
    if (fresh[key]) return show(fresh[key].urls, fresh[key]);
    figure.setAttribute("aria-busy", "true");
    model.send({ ask: "frame", position: now, key });
  }

  // A kernel answers, and then all values can be asked for; on a page without one nobody does.
  function heard(message, buffers) {
    if (message.tell === "kernel") {
      for (const axis of spec.axes.filter((a) => a.slider)) {
        controls[axis.name].setValues(axis.live, controls[axis.name].value);
      }
    } else if (message.tell === "frame") {
      const urls = buffers.map((b) => address(b));
      fresh[message.key] = { urls, caption: message.caption, lines: message.lines };
      if (JSON.stringify(position()) === message.key) show(urls, message);
    }
  }

  const bound = bind(model, controls, draw);
  if (spec.live) {
    model.on("msg:custom", heard);
    model.send({ ask: "kernel" });
  }
  return () => {
    bound.stop();
    model.off("msg:custom", heard);
    const made = [...Object.values(addresses), ...Object.values(fresh).flatMap((f) => f.urls)];
    made.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
