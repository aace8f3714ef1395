"""How fast the lab is in the browser: draws, painting, a whole volume, and what memory does.

Beside ONNX Runtime in Python on one thread, if that is installed (it is no requirement of the
project), and PyTorch on one thread; all in turns, so that a busy machine is busy for all of them.
"""

import functools
import os
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from bench_masks import in_turns, print_table, ratio
from browser import Shown, open_browser
from site_visits import Guarded, Server
from test_live import RUN

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.scans import save_volume, to_slices
from maskdiff_edu.training import load_pretrained
from maskdiff_edu.training.checkpoints import MODELS
from maskdiff_edu.widgets import LiveModel, OwnScan
from maskdiff_edu.widgets.lab import copy_lab

MODEL = "ddpm"
RECONSTRUCTIONS = 500
START = """async () => {
  const { openLab } = await import("/_static/maskdiff/lab/client.js");
  window.lab = openLab({ base: new URL("/_static/maskdiff/", location).href });
  window.x0 = Float32Array.from({ length: 96 * 96 }, (_, i) => Math.sin(i / 50) / 2);
  await lab.open("ddpm");
}"""
DRAW = "async (draws) => { await lab.redraw('ddpm', { x0, t: 250, draws, seed: 0 }); }"
# Pictures of the answer a second while the brush moves, and the longest block of the main thread.
PAINT = """async () => {
  let longest = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration);
  }).observe({ type: "longtask" });
  const [painted, , answered] = document.querySelectorAll("canvas");
  const box = painted.getBoundingClientRect();
  const at = (type, i) => painted.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, bubbles: true, clientX: box.left + box.width * (0.4 + 0.002 * i),
    clientY: box.top + box.height * 0.5,
  }));
  painted.setPointerCapture = () => {};
  let [seen, pictures] = [answered.toDataURL(), 0];
  at("pointerdown", 0);
  const began = performance.now();
  for (let i = 1; i < 100; i++) {
    at("pointermove", i);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = answered.toDataURL();
    if (now !== seen) pictures += 1;
    seen = now;
  }
  const seconds = (performance.now() - began) / 1000;
  at("pointerup", 100);
  return [pictures / seconds, longest];
}"""


def in_python() -> dict[str, Any]:
    """One forward pass of the network by each engine that is there, on one thread."""
    torch.set_num_threads(1)
    x_t, t = torch.zeros(1, 1, 96, 96), torch.tensor([250])
    model = load_pretrained(MODEL)[0].eval()

    def by_torch() -> None:
        with torch.inference_mode():
            model(x_t, t)

    jobs: dict[str, Any] = {"PyTorch": by_torch}
    try:
        import onnxruntime
    except ImportError:
        return jobs
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODELS / f"{MODEL}.onnx"), options)
    given = {"x_t": x_t.numpy(), "t": t.numpy()}
    return {**jobs, "ONNX Runtime": lambda: session.run(None, given)}


def renderer_memory() -> float:
    """Megabytes of the largest process of the browser that shows pages."""
    found = [0.0]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                pages = int((folder / "statm").read_text().split()[1])
                found.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        except (OSError, IndexError):
            continue
    return max(found)


def main() -> None:
    """Print the tables."""
    site = Path(tempfile.mkdtemp())
    copy_lab(site)
    (site / "index.html").write_text("<!doctype html><title>The lab</title>", encoding="utf-8")
    server = Server(("127.0.0.1", 0), functools.partial(Guarded, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    with open_browser() as browser:
        page = browser.new_page()
        page.goto(address)
        page.evaluate(START)
        jobs = {"this page, one draw": lambda: page.evaluate(DRAW, 1), **in_python()}
        seconds = in_turns(jobs, 40)
        first = next(iter(jobs))
        rows = [("one slice", "median, ms", "best, ms", "times slower here")]
        for name, values in seconds.items():
            slower = "" if name == first else f"{ratio(seconds[first], values):.1f}"
            median, best = 1000 * statistics.median(values), 1000 * values.min()
            rows.append((name, f"{median:.1f}", f"{best:.1f}", slower))
        print_table("A draw in headless Chromium, WebAssembly, one thread", rows)

        before = renderer_memory()
        for _ in range(RECONSTRUCTIONS // 50):
            page.evaluate(f"async () => {{ for (let i = 0; i < 50; i++) await ({DRAW})(1); }}")
        rows = [("renderer, MB", f"{before:.0f}", f"{renderer_memory():.0f}")]
        print_table(f"Memory before and after {RECONSTRUCTIONS} reconstructions", rows)
        page.close()

        [seed] = cohort_seeds("test", "healthy", 1)
        words = {"label": "Paint", "alt": "A slice to paint on, for a measurement."}
        people = {"nobody": to_slices(make_member(seed, "healthy"))}
        figure = LiveModel(people, shown=[35], models=[MODEL], **words)
        shown = Shown(browser.new_page(), figure, False, address)
        shown.page.evaluate("globalThis.maskdiffLab = '/_static/maskdiff/'")
        shown.page.get_by_role("button", name=RUN).click()
        shown.page.get_by_text("mean of 4 draws").wait_for()
        speed, longest = shown.page.evaluate(PAINT)
        rows = [("one network", f"{speed:.1f}", f"{longest:.0f}" if longest else "below 50")]
        head = ("while the brush moves", "pictures a second", "longest task, ms")
        print_table("Painting", [head, *rows])
        shown.page.close()

        patient = make_member(cohort_seeds("test", "tumour")[0], "tumour")
        file = save_volume(site / "patient.nii.gz", patient.image, patient.affine)
        own = Shown(browser.new_page(), OwnScan(), False, address)
        own.page.evaluate("globalThis.maskdiffLab = '/_static/maskdiff/'")
        began = time.perf_counter()
        own.page.get_by_label("scan: T2").set_input_files(file)
        own.page.get_by_text(re.compile(r"\d+ slices of 2 mm")).wait_for()
        read = time.perf_counter()
        own.page.get_by_role("button", name="look for anomalies").click()
        own.page.get_by_text(re.compile("ml of a brain of")).wait_for(timeout=300_000)
        looked = time.perf_counter()
        rows = [("a scan of 2 mm", "read, s", "looked through, s")]
        slices = len(to_slices(patient).images)
        rows.append((f"{slices} slices, 6 passes", f"{read - began:.1f}", f"{looked - read:.1f}"))
        print_table("Your own scan", rows)
    server.shutdown()


if __name__ == "__main__":
    main()
