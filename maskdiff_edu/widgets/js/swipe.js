// Two pictures of one slice with a divider between them (browse.Swipe).

async function render({ model, el }) {
  const { names, titles } = model.get("spec");
  const { stage, controls: area, say } = shell(el, model);
  const parts = await unpack(model);
  const addresses = Object.fromEntries(
    Object.entries(parts).map(([name, bytes]) => [name, URL.createObjectURL(new Blob([bytes], { type: "image/webp" }))]),
  );
  const left = make("img", { className: "maskdiff-picture dark-light" });
  const right = make("img", { className: "maskdiff-picture maskdiff-over dark-light" });
  const line = make("div", { className: "maskdiff-divider", "aria-hidden": "true" });
  const frame = make("div", { className: "maskdiff-swipe" }, left, right, line);
  stage.append(frame);

  const value = model.get("value");
  const onChange = () => bound.changed();
  const controls = {
    left: choices({ label: "left", values: names, value: value.left, onChange }),
    right: choices({ label: "right", values: names, value: value.right, onChange }),
    slice: slider({ label: "slice", values: titles, value: value.slice, onChange }),
    divider: slider({ label: "divider", values: Array.from({ length: 101 }, (_, i) => i),
                      value: value.divider, onChange, show: (v) => `${v} %` }),
  };
  area.append(controls.divider.node, controls.left.node, controls.right.node);
  if (titles.length > 1) area.append(controls.slice.node);

  function follow(event) {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = frame.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    controls.divider.value = Math.round(100 * Math.min(1, Math.max(0, share)));
    bound.changed();
  }
  frame.addEventListener("pointerdown", follow);
  frame.addEventListener("pointermove", follow);

  function draw() {
    const now = model.get("value");
    const at = titles.indexOf(now.slice);
    for (const [side, image] of [["left", left], ["right", right]]) {
      image.src = addresses[`${now[side]}|${at}`];
      image.alt = `${side}: ${now[side]}, ${now.slice}`;
    }
    right.style.clipPath = `inset(0 0 0 ${now.divider}%)`;
    line.style.left = `${now.divider}%`;
    say(`${now.slice}: ${now.left} on the left ${now.divider} %, ${now.right} on the right.`);
  }

  const bound = bind(model, controls, draw);
  return () => {
    bound.stop();
    Object.values(addresses).forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
