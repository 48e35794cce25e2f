// What all tests of the page need: a browser, and an eye on whom it asks and what it tries.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const require = createRequire(import.meta.url);
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** A browser of its own. `CHROMIUM` names another than the system's. */
export async function browser(flags = []) {
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: [...FLAGS, ...flags] });
}

/** A browser that keeps what it is given in a folder, for one visitor. */
export const profile = (folder, flags = []) => ({
  newContext: (options) => chromium.launchPersistentContext(folder, { executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: [...FLAGS, ...flags], ...options }),
});

/**
 * A visitor: a window without memory of others. Whatever it asks of another host than `base`, whatever
 * the page's policy forbids and whatever goes wrong in a script fails the test.
 */
export async function visitor(browser, base, { viewport = DESKTOP, dark = false, locale = "en-US", ...rest } = {}) {
  const context = await browser.newContext({
    viewport,
    locale,
    colorScheme: dark ? "dark" : "light",
    hasTouch: viewport === PHONE,
    permissions: ["clipboard-read", "clipboard-write"],
    ...rest,
  });
  const wrong = [];
  const { host } = new URL(base);
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (["http:", "https:", "ws:", "wss:"].includes(url.protocol) && url.host !== host) wrong.push(`asked ${request.url()}`);
  });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`VIOLATION ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => wrong.push(`threw ${error.stack}`));
  page.on("console", (message) => {
    if (message.text().startsWith("VIOLATION") || /Content Security Policy|TrustedHTML|TrustedScript/.test(message.text())) wrong.push(message.text());
  });
  const at = (name) => page.locator(`[data-testid="${name}"]`);
  return {
    context,
    page,
    at,
    messages: (role) => page.locator(`[data-testid="message"]${role ? `[data-role="${role}"]` : ""}`),
    /** The last answer, once it has ended. */
    async answered(state = "done", timeout = 90_000) {
      const last = page.locator('[data-testid="message"][data-role="assistant"]').last();
      await last.waitFor({ timeout });
      await page.waitForFunction(
        (state) => {
          const all = document.querySelectorAll('[data-testid="message"][data-role="assistant"]');
          return all.length && all[all.length - 1].dataset.state === state && all[all.length - 1].dataset.id;
        },
        state,
        { timeout },
      );
      return last;
    },
    /** Waits until what is shown matches: text is rendered a little after it has come. */
    async reads(locator, pattern, timeout = 30_000) {
      const until = Date.now() + timeout;
      let text = "";
      while (Date.now() < until) {
        text = await locator.innerText();
        if (pattern.test(text)) return text;
        await page.waitForTimeout(50);
      }
      assert.match(text, pattern);
    },
    /** Waits until as many messages are shown as are expected. */
    async count(role, n) {
      await page.waitForFunction(([role, n]) => document.querySelectorAll(`[data-testid="message"][data-role="${role}"]`).length === n, [role, n]);
    },
    /** Sets how long answers may get, and that they are the same each time: small models ramble. */
    async limit(tokens) {
      await at("settings").click();
      await at("setting-max_tokens").fill(String(tokens));
      await at("setting-temperature").fill("0");
      await at("settings-save").click();
      await at("settings-dialog").waitFor({ state: "detached" });
    },
    async say(text) {
      await at("composer").fill(text);
      await at("composer").press("Enter");
    },
    async accessible(what) {
      // What is still fading in has no contrast yet. Endless ones, such as dots that wait, never end.
      await page.waitForFunction(() => document.getAnimations().every(({ effect, playState }) => playState !== "running" || effect.getTiming().iterations === Infinity));
      await page.evaluate(axe);
      const found = await page.evaluate(async () => {
        const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
        return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
          .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`).slice(0, 3).join(" | ")}`);
      });
      assert.deepEqual(found, [], `axe-core on ${what}`);
    },
    /** A picture for people, where `SCREENSHOTS` names a folder. */
    async picture(name) {
      if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
    },
    /** Ends the visit, and tells what was wrong with it. */
    async leave() {
      await context.close();
      assert.deepEqual(wrong, []);
    },
  };
}

/** What a server answers, as a program asks it. */
export async function api(base, path, { key, ...options } = {}) {
  const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(options.body ? { "content-type": "application/json" } : {}) };
  const response = await fetch(base + path, { headers, ...options, body: options.body && JSON.stringify(options.body) });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The reports of browsers that the server has counted: none in a session that went well. */
export async function violations(base, key) {
  const metrics = await api(base, "/metrics", { key });
  const line = metrics.split("\n").find((line) => line.startsWith("matou:page_policy_violations_total"));
  return Number(line.split(" ").pop());
}
