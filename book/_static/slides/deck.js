// How a deck starts, and how its figures, code and printed lines get the size that fits the slide.
(() => {
  // A phone held upright. Not a narrow window: the speaker's view shows slides in small ones.
  const portrait = screen.width < Math.min(screen.height, 700);
  document.documentElement.classList.toggle("portrait", portrait);
  const [width, height] = portrait ? [480, 854] : [1280, 720];
  const least = 0.3; // times the natural size

  // The same delimiters as on the site's pages. Slides that are not shown have no size to measure.
  window.MathJax = {
    options: { enableMenu: false, processHtmlClass: "math" },
    chtml: { matchFontHeight: false },
  };

  // Sizes come rounded. A line of text may lose a pixel below, the frame of a figure may not.
  function fits(box, inner) {
    const room = box.clientHeight + (box.matches(".live") ? -3 : 2);
    return (
      inner.scrollHeight * inner.currentCSSZoom <= room &&
      inner.scrollWidth <= inner.clientWidth + 1
    );
  }

  // The largest size at which all of it is seen. Live figures may also grow; the width of the box
  // is used in any case, so a larger figure breaks its controls and captions into more lines.
  function fit(box) {
    const inner = box.firstElementChild;
    if (!inner || !box.clientHeight) return;
    let [low, high] = [least, box.matches(".live") ? 2.2 : 1.01];
    for (let i = 0; i < 7; i++) {
      const middle = (low + high) / 2;
      inner.style.zoom = middle;
      if (fits(box, inner)) low = middle;
      else high = middle;
    }
    inner.style.zoom = low;
  }

  const boxes = () =>
    (Reveal.isPrintView() ? document : Reveal.getCurrentSlide()).querySelectorAll(".fit");
  const fitAll = () => boxes().forEach(fit);

  Reveal.initialize({
    width,
    height,
    margin: 0.02,
    center: false,
    display: "flex",
    hash: true,
    slideNumber: "c/t",
    transition: "none",
    backgroundTransition: "none",
    scrollActivationWidth: 0, // slides one by one also on a phone
    pdfMaxPagesPerSlide: 1,
    pdfSeparateFragments: false,
    // Keys belong to a figure while the focus is in it.
    keyboardCondition: () => !document.activeElement?.closest(".live"),
    plugins: [RevealNotes],
  }).then(() => {
    for (const event of ["slidechanged", "resize", "pdf-ready"]) Reveal.on(event, fitAll);
    fitAll();
    // Figures and formulas are drawn later, and a caption grows and shrinks with a figure's value.
    // What still fits keeps its size: a figure must not jump while somebody moves its slider.
    const observer = new ResizeObserver(() => {
      for (const box of boxes()) {
        const inner = box.firstElementChild;
        if (inner && (!inner.style.zoom || !fits(box, inner))) fit(box);
      }
    });
    const observe = () => {
      for (const inner of document.querySelectorAll(".fit > *")) observer.observe(inner);
    };
    new MutationObserver(observe).observe(document.querySelector(".slides"), {
      childList: true,
      subtree: true,
    });
    observe();
  });

  // Esc leaves a figure, and the keys are the deck's again.
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !document.activeElement?.closest(".live")) return;
      document.activeElement.blur();
      event.stopImmediatePropagation();
    },
    true,
  );
})();
