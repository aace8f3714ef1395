// What every figure needs: elements, controls with labels, data, and words that follow.

// An element with properties, attributes (names with a dash, or role) and children.
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

let idsGiven = 0;
const pageSalt = Math.random().toString(36).slice(2, 8); // several scripts share one page
function newId(what) {
  idsGiven += 1;
  return `maskdiff-${what}-${pageSalt}-${idsGiven}`;
}

// Text in which `backticks` mark code.
function words(text) {
  return text
    .split("`")
    .map((part, i) => (i % 2 ? make("code", { textContent: part }) : document.createTextNode(part)));
}

// The block of data as {name: bytes or typed array}; arrays carry their shape.
async function unpack(model) {
  const view = model.get("blob");
  const packed = new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const all = await new Response(stream).arrayBuffer();
  const parts = {};
  for (const [name, entry] of Object.entries(model.get("spec").parts)) {
    const bytes = all.slice(entry.start, entry.start + entry.bytes);
    if (entry.type === "float32") parts[name] = new Float32Array(bytes);
    else if (entry.type === "uint16") parts[name] = new Uint16Array(bytes);
    else if (entry.type === "bits") parts[name] = unpackBits(new Uint8Array(bytes), entry.shape);
    else parts[name] = new Uint8Array(bytes);
    if (entry.shape) parts[name].shape = entry.shape;
  }
  return parts;
}

function unpackBits(bytes, shape) {
  const n = shape.reduce((a, b) => a * b, 1);
  return Uint8Array.from({ length: n }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
}

// The frame of a figure: heading, pictures, controls, and a line that says what is to be seen.
function shell(el, model) {
  const { label, alt } = model.get("spec");
  const [titleId, altId] = [newId("title"), newId("alt")];
  const stage = make("div", { className: "maskdiff-stage" });
  const controls = make("div", { className: "maskdiff-controls" });
  const status = make("p", { className: "maskdiff-status", role: "status" });
  const figure = make(
    "figure",
    { className: "maskdiff", "aria-labelledby": titleId, "aria-describedby": altId },
    make("figcaption", { className: "maskdiff-title", id: titleId, textContent: label }),
    make("p", { className: "maskdiff-hidden", id: altId, textContent: alt }),
    stage,
    controls,
    status,
  );
  el.append(figure);
  return { figure, stage, controls, say: (text) => status.replaceChildren(...words(text)) };
}

// A panel: a title over a picture.
function panel(title, picture) {
  return make(
    "div",
    { className: "maskdiff-panel" },
    make("div", { className: "maskdiff-panel-title", textContent: title }),
    picture,
  );
}

// A slider over a list of values. `show` turns a value into what the reader sees.
function slider({ label, values, value, show = String, onChange }) {
  const id = newId("slider");
  const output = make("output", { for: id });
  const input = make("input", { type: "range", id, min: 0, step: 1 });
  const control = {
    node: make(
      "div",
      { className: "maskdiff-control" },
      make("label", { for: id, textContent: label }),
      input,
      output,
    ),
    get value() {
      return control.values[input.value];
    },
    set value(wanted) {
      const index = control.values.indexOf(wanted);
      if (index >= 0) input.value = index;
      write();
    },
    set disabled(isOff) {
      input.disabled = isOff;
    },
    setValues(list, current) {
      control.values = list;
      input.max = list.length - 1;
      control.value = current;
    },
  };
  function write() {
    output.textContent = show(control.value);
    input.setAttribute("aria-valuetext", output.textContent);
  }
  input.addEventListener("input", () => {
    write();
    onChange(control.value);
  });
  control.setValues(values, value);
  return control;
}

// One of a few words: radio buttons, which arrow keys move between.
function choices({ label, values, value, show = String, onChange }) {
  const name = newId("choice");
  const inputs = values.map((v) => {
    const input = make("input", { type: "radio", name, checked: v === value });
    input.addEventListener("change", () => onChange(v));
    return input;
  });
  const options = inputs.map((input, i) => make("label", {}, input, ` ${show(values[i])}`));
  return {
    node: make("fieldset", { className: "maskdiff-control" }, make("legend", { textContent: label }), ...options),
    get value() {
      return values[inputs.findIndex((input) => input.checked)];
    },
    set value(wanted) {
      inputs.forEach((input, i) => (input.checked = values[i] === wanted));
    },
  };
}

// Any of a few words, but never none: check boxes.
function several({ label, values, value, onChange }) {
  const inputs = values.map((v) => make("input", { type: "checkbox", checked: value.includes(v) }));
  const checked = () => values.filter((_, i) => inputs[i].checked);
  for (const input of inputs) {
    input.addEventListener("change", () => {
      if (!checked().length) input.checked = true;
      onChange(checked());
    });
  }
  const options = inputs.map((input, i) => make("label", {}, input, ` ${values[i]}`));
  return {
    node: make("fieldset", { className: "maskdiff-control" }, make("legend", { textContent: label }), ...options),
    get value() {
      return checked();
    },
    set value(wanted) {
      inputs.forEach((input, i) => (input.checked = wanted.includes(values[i])));
    },
  };
}

// On or off.
function checkbox({ label, value, onChange }) {
  const input = make("input", { type: "checkbox", checked: value });
  input.addEventListener("change", () => onChange(input.checked));
  return {
    node: make("div", { className: "maskdiff-control" }, make("label", {}, input, ` ${label}`)),
    get value() {
      return input.checked;
    },
    set value(wanted) {
      input.checked = wanted;
    },
    set disabled(isOff) {
      input.disabled = isOff;
    },
  };
}

// Controls that are the figure's `value`: {name: control}. A change on the page goes to the
// kernel, if there is one; a change in the kernel moves the control. Both draw.
function bind(model, controls, draw) {
  function fromPage() {
    model.set("value", Object.fromEntries(Object.entries(controls).map(([k, c]) => [k, c.value])));
    model.save_changes();
  }
  function fromModel() {
    const value = model.get("value");
    for (const [name, control] of Object.entries(controls)) {
      if (name in value && control.value !== value[name]) control.value = value[name];
    }
    draw();
  }
  model.on("change:value", fromModel);
  draw();
  return { changed: fromPage, stop: () => model.off("change:value", fromModel) };
}
