// What a model, a card or an imported file may say to harm the page stays text, and the page stays quick.
// Usage: hostile.mjs BASE_URL

import assert from "node:assert/strict";
import { api, browser, violations, visitor } from "./browser.mjs";

const base = process.argv[2];
const QUICK_MS = 1000;
const attack = "globalThis.harmed=true;alert(1)";
const table = (rows, columns) => [0, 1].concat(Array.from({ length: rows }, (_, row) => row + 2))
  .map((row) => `|${Array.from({ length: columns }, (_, column) => (row === 1 ? "-" : `r${row}c${column}`)).join("|")}|`).join("\n");

/** Name, text, and what of it has to be seen as it was written. */
const TEXTS = [
  ["html", `<h1 onclick="${attack}">Title</h1> <b style="position:fixed;inset:0">bold</b> <iframe src="/"></iframe> <form action="/session"><input name=key></form> <style>*{display:none}</style>`, "<iframe src=\"/\"></iframe>"],
  ["scripts", `<script>${attack}</script>\n\n<img src=x onerror="${attack}"> <svg onload="${attack}"><animate onbegin="${attack}"></svg>\n\n<details open ontoggle="${attack}">x</details>`, `<script>${attack}</script>`],
  ["links", `[run](javascript:${attack}) [run](JaVaScRiPt&colon;${attack}) [run](java\tscript:${attack}) [page](data:text/html,<script>${attack}</script>) <javascript:${attack}> [vb](vbscript:x) [blob](blob:null/1) [file](file:///etc/passwd) ![beacon](https://beacon.invalid/pixel.png) ![svg](data:image/svg+xml,<svg onload=${attack}>)`, "javascript:"],
  ["quotes", ">".repeat(10_000) + " deep", "deep"],
  ["brackets", "[".repeat(10_000) + "deep", "deep"],
  ["stars", "*".repeat(10_000) + "deep", "deep"],
  ["bracket links", "[a](".repeat(10_000) + "deep", "[a]("],
  ["emphasis", "*a **b ".repeat(10_000), "a"],
  ["backticks", Array.from({ length: 2000 }, (_, at) => "`".repeat(at % 50 + 1)).join("x"), "x"],
  ["list", Array.from({ length: 2000 }, (_, at) => `${"  ".repeat(at)}- item${at}`).join("\n"), "item0"],
  ["a line of a megabyte", "lorem ".repeat(175_000), "lorem"],
  ["a word of a megabyte", "x".repeat(1_000_000), "xxx"],
  ["code of a megabyte", "```js\n" + "const a = '<b>' + `${1}`;\n".repeat(40_000) + "```", "const a"],
  ["rows", table(5000, 4), "r2c0"],
  ["columns", table(3, 2000), "r2c0"],
  ["bidi", "`access = \u202E\u2066admin\u2069 // user\u202C` [bank.example](https://evil.example/\u202Emoc.elpmaxe.knab) \u202Ereversed", "admin"],
  ["zero width", "begin" + "\u200B\u200D\uFEFF".repeat(20_000) + "a\u0301".repeat(20_000), "begin"],
  ["formulas", `$$${"{".repeat(1900)}$$ $${"\\frac{1}{".repeat(300)}x$ $$\\def\\a{\\a\\a}\\a$$ $$\\href{javascript:${attack}}{x}$$ $$\\rule{9999em}{9999em}$$ $${"^".repeat(500)}$ end`, "end"],
  ["dollars", "begin " + "$".repeat(20_000) + "$a".repeat(20_000), "begin"],
  ["entities", "&#0; &#xD800; &#x110000; &lt;script&gt; &amp;amp; &NewLine;javascript:1 end", "end"],
  ["controls", "a\u0000b\u0008c\u001B[31md\u2028e\u2029f end", "end"],
];

const chromium = await browser();
const me = await visitor(chromium, base);
const { page } = me;
page.on("dialog", async (dialog) => {
  await dialog.dismiss();
  throw new Error(`a dialog: ${dialog.message()}`);
});
// How long each click waited for the page.
await me.context.addInitScript(() => {
  globalThis.waits = [];
  addEventListener("click", (event) => globalThis.waits.push(performance.now() - event.timeStamp), true);
});

const conversation = (title, messages, more = {}) => ({
  title,
  settings: { system: "", max_tokens: 8 },
  ...more,
  messages: messages.map((message, at) => ({ id: `m${at}`, parent: at ? `m${at - 1}` : null, created_at: 1_790_000_000 + at, state: "done", ...message })),
  leaf: `m${messages.length - 1}`,
});
const bring = async (given) => {
  const { ids, error } = await api(base, "/v1/history/import", { method: "POST", body: given });
  assert.ok(ids?.length === 1, JSON.stringify(error));
  return ids[0];
};
const open = async (id, has) => {
  await page.goto(`${base}/#/c/${id}`);
  await page.waitForFunction((has) => [...document.querySelectorAll('[data-testid="message-text"]')].at(-1)?.textContent.includes(has), has);
};
/** Clicks while the page is at work, and says how long that took to be heard. */
const click = async (name) => {
  const isOpen = () => me.at("sidebar-toggle").getAttribute("aria-expanded");
  const before = await isOpen();
  await page.evaluate(() => { globalThis.waits.length = 0; });
  await me.at("sidebar-toggle").click();
  assert.notEqual(await isOpen(), before);
  const [wait] = await page.evaluate(() => globalThis.waits);
  assert.ok(wait < QUICK_MS, `${name}: a click waited for ${Math.round(wait)} ms`);
  return wait;
};
const harmless = async (name, isCovered = false) => {
  const found = await page.evaluate(() => {
    const inside = (selector) => [...document.querySelectorAll(`[data-testid="message"] :is(${selector})`)];
    const bad = inside("script, iframe, object, embed, form, style, link, meta, base, svg:not(.icon), input:not([type=checkbox]), .message-text img")
      .filter((element) => !element.matches('img[src^="data:image/png"]')).map((element) => element.outerHTML.slice(0, 200));
    for (const element of document.querySelectorAll("body *")) {
      for (const { name, value } of element.attributes) {
        if (name.startsWith("on") || /^(href|src|action|formaction|xlink:href)$/.test(name) && !/^(https?:|mailto:|blob:|\/|#)/.test(value)) bad.push(`${name}=${value}`.slice(0, 200));
      }
    }
    const cover = document.elementFromPoint(innerWidth / 2, innerHeight - 60)?.closest(".composer, .dock");
    return { bad, harmed: Boolean(globalThis.harmed), isCovered: !cover };
  });
  assert.deepEqual(found, { bad: [], harmed: false, isCovered }, name);
};

// ---- Each text as an answer.
const ids = [];
for (const [name, text] of TEXTS) {
  ids.push(await bring(conversation(name, [{ role: "user", content: text.slice(0, 100_000) }, { role: "assistant", content: text, reasoning: text.slice(0, 100_000), model: "m" }])));
}
await page.goto(base);
await me.at("composer").waitFor();
for (const [at, [name, text, has]] of TEXTS.entries()) {
  await page.goto(`${base}/#/c/${ids[at]}`);
  await me.count("assistant", 1);
  const first = await click(name);
  await open(ids[at], has);
  const second = await click(name);
  if (process.env.VERBOSE) console.log(name, Math.round(first), Math.round(second));
  await harmless(name);
  assert.ok((await me.messages("user").innerText()).length > 0, text.slice(0, 20));
}

// ---- Names of models, tools and conversations, and the thoughts.
const markup = `<img src=x onerror="${attack}"></bdi>`;
const named = await bring(conversation(markup, [
  { role: "user", content: "hi" },
  { role: "assistant", content: "tools", model: markup, reasoning: markup, tool_calls: [{ id: "1", type: "function", function: { name: markup, arguments: `{"a":"${"<script>"}"}` } }] },
  { role: "tool", tool_call_id: "1", content: markup },
  { role: "assistant", content: "named", model: markup, error: markup, state: "failed" },
], { folder: markup, settings: { model: markup } }));
await page.goto(`${base}/#/c/${named}`);
await page.reload();
await me.count("assistant", 2);
await me.messages("assistant").first().locator(".thoughts summary").click();
for (const place of [".title-text", ".item-title", ".folder:nth-child(2)", ".message-name", ".thoughts-text", ".calls summary", ".message.tool", ".error-box", '[data-testid="ai-notice"]']) {
  const texts = await page.locator(place).allTextContents();
  assert.ok(texts.some((text) => text.includes(markup) || text.includes(JSON.stringify(markup).slice(1, -1))), `${place} of ${texts}`);
}
await harmless("names");
await me.accessible("names that are markup");
await me.picture("hostile-names");

// ---- A persona that would like to pass for a person.
const says = `${markup}</p> I am human. <p class="ai-notice">You are talking to a human.</p>`;
const persona = await api(base, "/v1/personas?filename=card.json", {
  method: "POST",
  body: { spec: "chara_card_v2", spec_version: "2.0", data: { name: "<i>Human</i>", description: "", personality: "", scenario: "", first_mes: says, mes_example: "", creator_notes: says, tags: [markup] } },
});
assert.equal(persona.object, "persona", JSON.stringify(persona));
await page.goto(base);
await page.reload();
await me.at("personas").click();
await me.at("persona-card").click();
await me.reads(me.at("personas-dialog").locator(".bio"), /You are talking to a human/);
await harmless("a gallery", true);
await me.at("persona-start").click();
await me.count("assistant", 1);
await me.reads(me.messages("assistant").locator(".message-name"), /^<i>Human<\/i>$/);
assert.deepEqual(await page.locator(".ai-notice").allInnerTexts(), [`You are talking to an AI (model ${persona.parent}). It can be wrong.`]);
await harmless("a persona");
await api(base, `/v1/personas/${persona.id}`, { method: "DELETE" });

// ---- Ten thousand messages open, and can be scrolled to their beginning.
const many = Array.from({ length: 10_000 }, (_, at) => ({ role: at % 2 ? "assistant" : "user", content: `message ${at} **of many**`, ...(at % 2 && { model: "m" }) }));
const long = await bring(conversation("many", many));
await page.goto(base);
await page.reload();
await me.at("composer").waitFor();
const begun = Date.now();
await open(long, "message 9999");
const took = Date.now() - begun;
assert.ok(took < 5000, `opening 10,000 messages took ${took} ms`);
await click("many messages");
const count = await me.messages().count();
assert.ok(count < 200, `${count} of 10,000 messages are rendered at once`);
const view = page.locator(".conversation");
/** The number of the first message that is rendered, once it is below another's. */
const earliest = async (below) => (await page.waitForFunction((below) => {
  const [, number] = /message (\d+)/.exec(document.querySelector('[data-testid="message-text"]').textContent) ?? [];
  return Number(number) < below && number;
}, below)).jsonValue();
for (let first = 10_000, at = 0; at < 5; at += 1) {
  first = Number(await earliest(first));
  await view.evaluate((element) => { element.scrollTop = 0; });
}
// What was read stays in sight: the reader is not thrown to the beginning.
assert.ok(await view.evaluate((element) => element.scrollTop) > 0);
await click("many messages, scrolled");
await me.at("jump-end").click();
await page.waitForFunction(() => {
  const view = document.querySelector(".conversation");
  return view.scrollHeight - view.clientHeight - view.scrollTop < 50;
});

await api(base, "/v1/history", { method: "DELETE" });
await me.leave();
await chromium.close();
assert.equal(await violations(base), 0);
