// Painting by mouse, touch and pen, or by keys: arrows move a cursor, Space paints, Shift is quick.

const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const [STEP, QUICK_STEP] = [2, 8]; // pixels that an arrow key moves the brush

// Makes a canvas of h x w pixels one to paint on. Calls begin(point) for a new stroke, go(point)
// for more of it and look() when only the brush moved. Returns where the brush is, whether its
// ring is to be shown, and whether the brush itself is, which `peek` turns on until it moves.
function paintPad(target, h, w, { begin, go, look }) {
  const state = { at: [Math.floor(h / 2), Math.floor(w / 2)], isShown: false, isPeeked: false };
  let isDown = false;
  target.tabIndex = 0;
  target.setAttribute("role", "application");
  target.classList.add("maskdiff-clickable");
  target.style.touchAction = "none";
  describe(target, "the slice: arrow keys move the brush, Shift makes it quick, Space paints");

  function move(point, isShown = true) {
    Object.assign(state, { at: point, isShown, isPeeked: false });
  }
  function pointAt(event) {
    const box = target.getBoundingClientRect();
    const inside = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
    return [inside((event.clientY - box.top) / box.height, h), inside((event.clientX - box.left) / box.width, w)];
  }
  target.addEventListener("pointerdown", (event) => {
    isDown = true;
    target.setPointerCapture(event.pointerId);
    move(pointAt(event));
    begin(state.at);
  });
  target.addEventListener("pointermove", (event) => {
    move(pointAt(event));
    if (isDown) go(state.at);
    else look();
  });
  target.addEventListener("pointerup", () => (isDown = false));
  target.addEventListener("pointercancel", () => (isDown = false));
  for (const [event, isShown] of [["pointerleave", false], ["blur", false], ["focus", true]]) {
    target.addEventListener(event, () => {
      move(state.at, isShown);
      look();
    });
  }
  target.addEventListener("keydown", (event) => {
    const direction = KEYS[event.key];
    if (!direction && event.key !== " ") return;
    event.preventDefault(); // the page would scroll
    event.stopPropagation(); // and a notebook would go to another cell
    if (!direction) return begin(state.at);
    const far = event.shiftKey ? QUICK_STEP : STEP;
    const to = (i, n) => Math.min(n - 1, Math.max(0, state.at[i] + far * direction[i]));
    move([to(0, h), to(1, w)]);
    look();
  });
  return {
    state,
    peek: () => {
      state.isShown = state.isPeeked = true;
      look();
    },
  };
}
