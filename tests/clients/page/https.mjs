// Over HTTPS the page can be installed, keeps itself for when the server is away, and takes a one-time link.
// Usage: https.mjs BASE_URL CA_FILE KEY

import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { PHONE, profile, visitor } from "./browser.mjs";

const [base, caFile, key] = process.argv.slice(2);
const ca = readFileSync(caFile);
const { hostname, port } = new URL(base);

/** What the server answers a program that trusts the authority and nobody else. */
const agent = new Agent({ ca, servername: "localhost" });
const ask = (path, method = "GET", more = {}) => new Promise((resolve, reject) => {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", ...more };
  const asked = request(base + path, { agent, method, headers }, async (response) => {
    let text = "";
    for await (const chunk of response) text += chunk;
    resolve({ status: response.statusCode, text });
  });
  asked.on("error", reject).end(method === "POST" ? "{}" : undefined);
});

// The certificate holds for its name before those who trust the authority. Chromium is told to trust
// exactly this one: its own store would have to be changed for the whole user.
const certificate = await new Promise((resolve, reject) => {
  const socket = connect({ host: hostname, port, ca, ...(/[a-z]/.test(hostname) && { servername: hostname }) }, () => {
    resolve(new X509Certificate(socket.getPeerCertificate(true).raw));
    socket.end();
  });
  socket.on("error", reject);
});
const spki = createHash("sha256").update(certificate.publicKey.export({ type: "spki", format: "der" })).digest("base64");

const folder = mkdtempSync(join(tmpdir(), "matou-page-"));
// No page can be installed from a private window, so it is one with a profile.
const me = await visitor(profile(folder, [`--ignore-certificate-errors-spki-list=${spki}`]), base, { viewport: PHONE });
const { page } = me;

// ---- The link of another device signs in, once, and is gone from the address.
const { status, text } = await ask("/session/links", "POST", { host: "box.local:8080" });
assert.equal(status, 200, text);
const link = new URL(JSON.parse(text).url);
// By the name that the server was asked by: other devices know it by that.
assert.equal(link.origin, "https://box.local:8080");
assert.match(link.hash, /^#login=./);
await page.goto(`${base}/${link.hash}`);
await me.at("composer").waitFor();
assert.ok(!page.url().includes("login"));
const session = await page.evaluate(async () => (await fetch("/session")).json());
assert.ok(session.signed_in && session.is_secure);
const cookie = (await me.context.cookies()).find(({ name }) => name.includes("matou"));
assert.ok(cookie.secure && cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
await me.context.clearCookies();
await page.goto(`${base}/?again${link.hash}`);
await me.reads(page.locator('[role="alert"]'), /used or is too old/);
await me.at("sign-in-key").fill(key);
await me.at("sign-in").click();
await me.at("composer").waitFor();

// ---- A service worker keeps the page, and never what is said.
await page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
await page.waitForFunction(() => Boolean(navigator.serviceWorker.controller));
const cached = await page.evaluate(async () => {
  const paths = [];
  for (const name of await caches.keys()) for (const { url } of await (await caches.open(name)).keys()) paths.push(new URL(url).pathname);
  return paths;
});
assert.ok(cached.includes("/") && cached.some((path) => path.startsWith("/page/js/")), cached.join());
assert.deepEqual(cached.filter((path) => /^\/(v1|session|status)/.test(path)), []);

// ---- It can be installed.
const devtools = await me.context.newCDPSession(page);
const { url, errors, data } = await devtools.send("Page.getAppManifest");
assert.equal(url, `${base}/manifest.webmanifest`);
assert.deepEqual(errors, []);
assert.equal(JSON.parse(data).display, "standalone");
assert.deepEqual((await devtools.send("Page.getInstallabilityErrors")).installabilityErrors, []);

await me.leave();
rmSync(folder, { recursive: true, force: true });
const metrics = (await ask("/metrics")).text;
assert.match(metrics, /^matou:page_policy_violations_total 0$/m);
agent.destroy();
