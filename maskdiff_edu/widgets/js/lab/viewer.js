// A scan from three sides, with a map over it: NiiVue, loaded only where a reader gave a scan.

import { addressOf, loadFile, unpack } from "./files.js";
import { niftiBytes } from "./nifti.js";

/** The viewer, as data_scripts/third_party.sha256 has it; a test compares. */
export const NIIVUE = {
  file: "lab/niivue/niivue.packed",
  bytes: 903945,
  sha256: "7d07614af47374092de98808c6ec1864b035f2a58efe99db433c66f35829afec",
};

const FROM_ZERO = 2; // NiiVue's colormapType: colours count from 0, below the threshold are none
const TOP = 0.5; // the score with the brightest colour

/** @typedef {{ data: Float32Array, shape: [number, number, number], affine: number[] }} Volume */
/**
 * @typedef {{ shape: number[], at: number[], values: number[] }} Position voxels to the right, to the
 *   front and upwards; the crosshair's; and what the scan and the map hold there
 */

/**
 * @param {import("./files.js").Places} places
 * @param {HTMLCanvasElement} canvas in an element of its own, which gives the size
 * @param {(position: Position) => void} onMove
 * @throws {Error} for a browser without WebGL 2
 */
export async function openViewer(places, canvas, onMove) {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error(
      "expected a browser with WebGL 2, which shows the scan, got one where it is off; the map can be " +
        "computed and saved without",
    );
  }
  const { Niivue, NVImage, MULTIPLANAR_TYPE, SHOW_RENDER } = await loadNiivue(places);
  const viewer = new Niivue({
    isRadiologicalConvention: true, // the patient's right is on the left, as in all figures here
    multiplanarLayout: MULTIPLANAR_TYPE.AUTO,
    multiplanarShowRender: SHOW_RENDER.NEVER,
    crosshairColor: [0, 0.84, 1, 1],
    crosshairWidthUnit: "mm",
    crosshairWidth: 0.8,
    crosshairGap: 5, // so that it does not hide what it points at
    fontColor: [1, 1, 1, 1],
    // Its own keys need the mouse over the picture; the figure has sliders instead.
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    viewModeHotKey: "",
    dragAndDropEnabled: false,
    loadingText: "",
    logLevel: "error",
    scrollRequiresFocus: true, // or the page would not scroll past it
  });
  viewer.onLocationChange = (/** @type {any} */ { values }) => {
    const shape = viewer.volumes[0].dimsRAS.slice(1, 4);
    const at = [...viewer.scene.crosshairPos].map((share, i) => {
      return Math.min(shape[i] - 1, Math.max(0, Math.floor(share * shape[i])));
    });
    onMove({ shape, at, values: values.map((/** @type {any} */ one) => one.value) });
  };
  await viewer.attachToCanvas(canvas);
  canvas.tabIndex = -1;

  /** @param {Volume} volume @param {object} how */
  const image = (volume, how) => {
    const file = new File([niftiBytes(volume)], "volume.nii");
    return NVImage.loadFromFile({ file, name: "volume.nii", ...how });
  };
  const removeMap = () => viewer.volumes.slice(1).forEach((/** @type {any} */ map) => viewer.removeVolume(map));
  return {
    /** In place of all that was shown. @param {Volume} volume @param {{ low: number, high: number }} range */
    showScan: async (volume, { low, high }) => {
      [...viewer.volumes].reverse().forEach((shown) => viewer.removeVolume(shown));
      viewer.addVolume(await image(volume, { colormap: "gray", cal_min: low, cal_max: high }));
      viewer.scene.crosshairPos = [0.5, 0.5, 0.5];
      viewer.createOnLocationChange();
    },
    /** @param {Volume} volume @param {{ threshold: number, opacity: number }} how */
    showMap: async (volume, { threshold, opacity }) => {
      removeMap();
      const how = { colormap: "magma", cal_min: threshold, cal_max: TOP, opacity };
      const map = await image(volume, how);
      map.colormapType = FROM_ZERO;
      viewer.addVolume(map);
      viewer.createOnLocationChange();
    },
    removeMap,
    /** @param {{ threshold: number, opacity: number }} how */
    dress: ({ threshold, opacity }) => {
      const map = viewer.volumes[1];
      if (!map) return;
      map.cal_min = threshold;
      map.opacity = opacity;
      viewer.updateGLVolume();
    },
    /** @param {number[]} at a voxel, as `onMove` tells it */
    moveTo: (at) => {
      const shape = viewer.volumes[0].dimsRAS.slice(1, 4);
      viewer.scene.crosshairPos = at.map((i, axis) => (i + 0.5) / shape[axis]);
      viewer.createOnLocationChange();
      viewer.drawScene();
    },
    close: () => viewer.cleanup(),
  };
}

/** @param {import("./files.js").Places} places */
async function loadNiivue(places) {
  const packed = await loadFile({ ...NIIVUE, url: addressOf(NIIVUE.file, places) });
  const url = URL.createObjectURL(new Blob([await unpack(packed)], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}
