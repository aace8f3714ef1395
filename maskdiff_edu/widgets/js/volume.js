// A scan from three sides (browse.VolumeBrowser).

// Each view: its size, and the voxel at (row, column). The top of a coronal or sagittal view is
// the top of the head.
const VIEWS = {
  axial: { size: (d, h, w) => [h, w], voxel: (r, c, { z }) => [z, r, c] },
  coronal: { size: (d, h, w) => [d, w], voxel: (r, c, { y }, d) => [d - 1 - r, y, c] },
  sagittal: { size: (d, h, w) => [d, h], voxel: (r, c, { x }, d) => [d - 1 - r, c, x] },
};

async function render({ model, el }) {
  const { shape, layers } = model.get("spec");
  const [depth, h, w] = shape;
  const { stage, controls: area, say } = shell(el, model);
  const { image, lesion, heat, gray, magma } = await unpack(model);
  const canvases = Object.entries(VIEWS).map(([name, view]) => {
    const [rows, columns] = view.size(depth, h, w);
    const target = canvas(rows, columns, "");
    stage.append(panel(name, target));
    return { name, view, target, rows, columns };
  });

  const value = model.get("value");
  const onChange = () => bound.changed();
  const upTo = (n) => Array.from({ length: n }, (_, i) => i);
  const controls = {
    z: slider({ label: "slice (neck to top)", values: upTo(depth), value: value.z, onChange }),
    y: slider({ label: "row (front to back)", values: upTo(h), value: value.y, onChange }),
    x: slider({ label: "column (right to left)", values: upTo(w), value: value.x, onChange }),
  };
  area.append(...Object.values(controls).map((control) => control.node));
  const show = {};
  for (const layer of layers) {
    const label = { lesion: "lesion outline", heat: "anomaly map" }[layer];
    show[layer] = checkbox({ label, value: true, onChange: () => draw() });
    area.append(show[layer].node);
  }

  function drawView({ name, view, target, rows, columns }, now) {
    const index = (r, c) => {
      const [z, y, x] = view.voxel(r, c, now, depth);
      return (z * h + y) * w + x;
    };
    const context = target.getContext("2d");
    const picture = context.createImageData(columns, rows);
    const mask = new Uint8Array(rows * columns);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const [i, at] = [index(r, c), r * columns + c];
        const score = heat && show.heat.value ? heat[i] : 0;
        const opacity = Math.min(0.9, (2 * score) / 255);
        for (let k = 0; k < 3; k++) {
          picture.data[4 * at + k] = (1 - opacity) * gray[3 * image[i] + k] + opacity * magma[3 * score + k];
        }
        picture.data[4 * at + 3] = 255;
        if (lesion && show.lesion.value) mask[at] = lesion[i];
      }
    }
    edgeOf(mask, rows, columns).forEach((edge, at) => edge && picture.data.set(OUTLINE, 4 * at));
    context.putImageData(picture, 0, 0);
    describe(target, `${name} view through slice ${now.z}, row ${now.y}, column ${now.x}`);
  }

  function draw() {
    const now = model.get("value");
    canvases.forEach((one) => drawView(one, now));
    const i = (now.z * h + now.y) * w + now.x;
    const here = (2 * image[i]) / 255 - 1;
    const marked = lesion ? (lesion[i] ? ", lesion" : ", no lesion") : "";
    say(`Slice ${now.z}, row ${now.y}, column ${now.x}: intensity ${here.toFixed(2)}${marked}.`);
  }

  const bound = bind(model, controls, draw);
  return bound.stop;
}

export default { render };
