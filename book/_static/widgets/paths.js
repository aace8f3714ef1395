// Tell require.js where our copies lie, before the widget manager would ask another server.
(() => {
  const here = new URL(".", document.currentScript.src).href;
  globalThis.maskdiffLab = new URL("../maskdiff/", here).href; // networks that run in the page
  requirejs.config({ paths: { anywidget: `${here}anywidget` }, waitSeconds: 60 });
})();
