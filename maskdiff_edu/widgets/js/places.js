// Where a figure's modules and networks come from: the site that shows it, or the kernel.

const KERNEL_PATIENCE = 20; // seconds that a kernel may take until it answers

// {at: name -> address, bring: what to load before a network is opened, base, addresses, isSite}
async function findPlaces(model) {
  const folder = globalThis.maskdiffLab; // widgets/paths.js says so on the book's pages
  if (folder) {
    const base = new URL(folder, document.baseURI).href;
    await keepForOffline(base); // first, so that it hears of all that is loaded from here on
    return { at: (name) => base + name, bring: async () => {}, base, addresses: {}, isSite: true };
  }
  return fromKernel(model);
}

const OFFLINE_PATIENCE = 2; // seconds: a browser may never give the page its worker

// Lets the page open without a connection from now on; a page from disk or without https cannot.
async function keepForOffline(base) {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
  const late = new Promise((resolve) => setTimeout(resolve, 1000 * OFFLINE_PATIENCE));
  const kept = async () => {
    await serviceWorker.register(new URL("../../offline.js", base)); // the site's root
    const { active } = await serviceWorker.ready;
    active.postMessage({ keep: [document.location.href.split("#")[0], ...loaded] });
    if (serviceWorker.controller) return;
    await new Promise((resolve) => serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  };
  // Without it, pages open with a connection only, as every page does.
  await Promise.race([kept().catch(() => {}), late]);
}

// A kernel sends files as they are asked for; they get addresses within this page.
async function fromKernel(model) {
  const addresses = {};
  const brought = new Set(["scripts"]);
  const files = await askKernel(model, "scripts");
  for (const name of Object.keys(files)) addModule(name, files, addresses);
  const bring = async (network) => {
    if (brought.has(network)) return;
    const found = await askKernel(model, network);
    for (const name of Object.keys(found)) addModule(name, found, addresses);
    brought.add(network);
  };
  return { at: (name) => addresses[name], bring, base: document.baseURI, addresses, isSite: false };
}

// {name: bytes} of what is asked for: "scripts", or a network's name.
function askKernel(model, wanted) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      model.off("msg:custom", heard);
    };
    const timer = setTimeout(() => {
      stop();
      reject(
        new Error(
          "expected a page that brings the networks, as this book's site does, or a running " +
            "kernel, got neither; open this chapter there, or run the cell",
        ),
      );
    }, 1000 * KERNEL_PATIENCE);
    function heard(message, buffers) {
      if (message.tell !== "files" || message.of !== wanted) return;
      stop();
      resolve(Object.fromEntries(message.names.map((name, i) => [name, buffers[i]])));
    }
    model.on("msg:custom", heard);
    model.send({ ask: "files", of: wanted });
  });
}

// A file as an address of its own; a script's imports are addresses too, so they come first.
function addModule(name, files, addresses) {
  if (addresses[name]) return addresses[name];
  let content = files[name];
  if (name.endsWith(".js")) {
    const resolved = (path) => new URL(path, `http://lab/${name}`).pathname.slice(1);
    content = new TextDecoder()
      .decode(content)
      .replace(/from "(\.[^"]+)"/g, (_, path) => `from "${addModule(resolved(path), files, addresses)}"`);
  }
  const type = name.endsWith(".js") ? "text/javascript" : "application/octet-stream";
  addresses[name] = URL.createObjectURL(new Blob([content], { type }));
  return addresses[name];
}

// The lab's modules by name, such as ["client", "anomaly"], all they export in one object.
async function importLab(places, names) {
  try {
    const found = await Promise.all(names.map((name) => import(places.at(`lab/${name}.js`))));
    return Object.assign({}, ...found);
  } catch (error) {
    throw new Error(
      "expected the network's scripts from this page's site, got none; a page that was opened from " +
        `disk cannot run them: read the book from a server (${error.message})`,
    );
  }
}
