// A service worker: once the networks ran, their pages open without a connection too. It lies at the
// root of the site, so that it may answer for all pages; whatever the site itself still answers
// comes from there, so that nobody reads an old page while they are online.

const STORE = "maskdiff-pages-1";
const worker = /** @type {any} */ (self); // a ServiceWorkerGlobalScope

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

// {keep: addresses} of what the page had loaded before there was a worker.
worker.addEventListener("message", (/** @type {any} */ event) => {
  event.waitUntil(keepAll(event.data.keep));
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  if (isOurs(event.request)) event.respondWith(freshOrKept(event.request));
});

/** Networks and their engine have a store of their own, with checksums (files.js). @param {Request} request */
function isOurs({ method, url }) {
  const { origin, pathname } = new URL(url);
  return method === "GET" && origin === location.origin && !/\/models\/|\.packed$/.test(pathname);
}

/** @param {Request} request */
async function freshOrKept(request) {
  const store = await caches.open(STORE);
  try {
    const answer = await fetch(request);
    // Where the store is full or forbidden, pages work as before.
    if (answer.ok) await store.put(request, answer.clone()).catch(() => {});
    return answer;
  } catch (error) {
    const kept = await store.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}

/** @param {string[]} urls */
async function keepAll(urls) {
  const wanted = urls.map((url) => new Request(url)).filter(isOurs);
  await Promise.all(wanted.map((request) => freshOrKept(request).catch(() => {})));
}
