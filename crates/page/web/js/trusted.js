// The one Trusted Types policy of the page: it lets exactly the scripts through that run outside the
// page's own modules. Anything else that asks for a script's address is refused.

const ALLOWED = new Set(['/page/js/content/worker.js', '/sw.js']);

function check(path) {
  if (!ALLOWED.has(path)) throw new TypeError(`Not a script of this page: ${path}`);
  return path;
}

const policy = globalThis.trustedTypes?.createPolicy('matou', { createScriptURL: check });

/** The address of a worker or of the service worker, in the form that the browser accepts. */
export function scriptURL(path) {
  return policy ? policy.createScriptURL(path) : check(path);
}
