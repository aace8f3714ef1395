// Files of our own site: fetched once, kept by the browser, and never used unless they are the
// very ones that the manifest names.

import { sha256 } from "./sha256.js";

/** @typedef {{ url: string, bytes: number, sha256: string }} Wanted */
/** @typedef {(loaded: number) => void} OnProgress bytes of this file so far */
/**
 * Where the lab's files are: in a folder of the site, with lab/ and models/ in it, or each at an
 * address of its own.
 * @typedef {{ base: string, addresses?: Record<string, string> }} Places
 */

const CACHE = "maskdiff-lab-1";

/**
 * @param {string} name such as "models/fpm-cm.onnx"
 * @param {Places} places
 */
export function addressOf(name, { base, addresses = {} }) {
  return addresses[name] ?? new URL(name, base).href;
}

/**
 * The bytes of a file, from the browser's store or from the site.
 * @param {Wanted} wanted
 * @param {OnProgress} [onProgress]
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {Error} that says what was expected and found, and what to do
 */
export async function loadFile(wanted, onProgress = () => {}) {
  const kept = await fromStore(wanted);
  if (kept) {
    onProgress(kept.length);
    return kept;
  }
  let wrong = "";
  // First ask whether the browser's own copy is still good; a wrong one must not come twice.
  for (const mode of /** @type {const} */ (["no-cache", "reload"])) {
    const bytes = await fetchBytes(wanted.url, mode, onProgress);
    wrong = await whatIsWrong(bytes, wanted);
    if (wrong) continue;
    await keep(wanted, bytes);
    return bytes;
  }
  throw new Error(`${nameOf(wanted.url)}: ${wrong}. The site may be incomplete: build it again.`);
}

/**
 * A JSON file, which says what the right files are: fetched anew, so that it fits this site, and
 * taken from the browser's store where the site does not answer.
 * @param {string} url
 */
export async function loadJson(url) {
  const kept = { url, bytes: 0, sha256: "any" };
  let bytes;
  try {
    bytes = await fetchBytes(url, "no-store", () => {});
  } catch (error) {
    bytes = await fromStore(kept, async () => "");
    if (!bytes) throw error;
  }
  const found = parsed(nameOf(url), bytes);
  await keep(kept, bytes);
  return found;
}

/** @param {string} name @param {Uint8Array} bytes */
function parsed(name, bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new Error(`${name}: expected JSON, got something else. Reload the page.`);
  }
}

/**
 * A file that gzip compressed.
 * @param {Uint8Array<ArrayBuffer>} packed
 */
export async function unpack(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} url @param {RequestCache} mode @param {OnProgress} onProgress */
async function fetchBytes(url, mode, onProgress) {
  const response = await ask(url, mode);
  const parts = [];
  let loaded = 0;
  const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    onProgress((loaded += value.length));
  }
}

/** @param {string} url @param {RequestCache} mode */
async function ask(url, mode) {
  let answer;
  try {
    answer = await fetch(url, { cache: mode });
  } catch (error) {
    throw new Error(
      `${nameOf(url)}: expected the file from this page's site, got no answer. ` +
        "Look whether you are online; a page that was opened from disk cannot fetch files.",
    );
  }
  if (!answer.ok) {
    throw new Error(
      `${nameOf(url)}: expected the file from this page's site, got ${answer.status} ` +
        `${answer.statusText}. The site may be incomplete: build it again.`,
    );
  }
  return answer;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Wanted} wanted
 * @returns {Promise<string>} nothing if it is the right file
 */
async function whatIsWrong(bytes, wanted) {
  if (bytes.length !== wanted.bytes) {
    return `expected ${wanted.bytes} bytes, got ${bytes.length}`;
  }
  const found = await sha256(bytes);
  const short = (/** @type {string} */ sum) => sum.slice(0, 12);
  return found === wanted.sha256
    ? ""
    : `expected the checksum ${short(wanted.sha256)}…, got ${short(found)}…: it was altered`;
}

// The browser's store may be absent (a page without https), full, or forbidden: then a file is
// fetched at every visit, and nothing else changes. What a kernel sent has an address for this
// visit only, which the store refuses too.

/** @param {Wanted} wanted @param {typeof whatIsWrong} check */
async function fromStore(wanted, check = whatIsWrong) {
  try {
    const found = await (await caches.open(CACHE)).match(keyOf(wanted));
    if (!found) return null;
    const bytes = new Uint8Array(await found.arrayBuffer());
    return (await check(bytes, wanted)) ? null : bytes;
  } catch (error) {
    return null;
  }
}

/** @param {Wanted} wanted @param {Uint8Array<ArrayBuffer>} bytes */
async function keep(wanted, bytes) {
  try {
    await (await caches.open(CACHE)).put(keyOf(wanted), new Response(bytes));
  } catch (error) {
    // Not kept: see above.
  }
}

/** Another version of a file is another entry. @param {Wanted} wanted */
function keyOf({ url, sha256 }) {
  return `${url}?sha256=${sha256}`;
}

/** @param {string} url */
function nameOf(url) {
  return url.slice(url.lastIndexOf("/") + 1);
}
