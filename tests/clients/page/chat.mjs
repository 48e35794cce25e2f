// A first visit and what follows, on a real model. Usage: chat.mjs BASE_URL

import assert from "node:assert/strict";
import { PHONE, api, browser, violations, visitor } from "./browser.mjs";

const base = process.argv[2];
const chromium = await browser();

// ---- First visit, several turns.
let me = await visitor(chromium, base);
await me.page.goto(base);
await me.at("composer").waitFor();
// Before anything else, a screen reader says whom one talks to.
await me.reads(me.at("ai-notice"), /AI/);
await me.accessible("the first visit");
await me.picture("first-visit");

await me.at("settings").click();
await me.at("settings-dialog").waitFor();
await me.accessible("the settings");
await me.picture("settings");
assert.equal(await me.at("setting-system").inputValue(), "You are a helpful assistant.");
await me.at("setting-temperature").fill("0");
await me.at("setting-max_tokens").fill("48");
await me.at("setting-logprobs").check();
await me.at("settings-save").click();

await me.say("What is the capital of France?");
let answer = await me.answered();
await me.reads(answer.locator('[data-testid="message-text"]'), /Paris/);
await me.reads(answer.locator('[data-testid="stats"]'), /tokens\/s/);
await me.say("And of Italy?");
await me.count("assistant", 2);
answer = await me.answered();
await me.reads(answer.locator('[data-testid="stats"]'), /cached/);
await me.accessible("a conversation");
await me.picture("conversation");
await me.reads(me.at("context-meter"), /\d/);

// ---- What others do not show: the prompt, and what else could have been said.
await answer.hover();
await answer.locator('[data-testid="inspect"]').click();
await me.at("inspect-dialog").waitFor();
await me.reads(me.at("inspect-dialog"), /tokens\/s/);
await me.accessible("the timings of an answer");
await me.at("inspect-prompt").click();
// Exactly what the model was given: the system prompt of the settings, and the tokens between messages.
await me.reads(me.at("inspect-dialog"), /You are a helpful assistant\.[^]*capital of France[^]*And of Italy/);
await me.accessible("the prompt of an answer");
await me.at("inspect-request").click();
await me.reads(me.at("inspect-dialog"), /"temperature": 0/);
await me.at("inspect-tokens").click();
const token = me.at("inspect-dialog").locator('[role="option"]');
await token.first().click();
await me.reads(me.at("inspect-dialog").locator(".token-popover"), /%/);
await me.accessible("the tokens of an answer");
await me.picture("inspect");
await me.page.keyboard.press("Escape");
await me.page.keyboard.press("Escape");
await me.at("inspect-dialog").waitFor({ state: "detached" });

// ---- Edit, and branch.
const first = me.messages("user").first();
await first.hover();
await first.locator('[data-testid="edit"]').click();
await me.at("edit-text").fill("What is the capital of Germany?");
await me.at("edit-save").click();
await me.count("assistant", 1);
answer = await me.answered();
await me.reads(answer.locator('[data-testid="message-text"]'), /Berlin|Germany/);
await me.reads(me.messages("user").first().locator('[data-testid="branch-label"]'), /2\D+2/);
await me.messages("user").first().locator('[data-testid="branch-prev"]').click();
await me.count("assistant", 2);
await me.reads(me.messages("assistant").first(), /Paris/);

// ---- Again, and stopped in the middle.
await me.limit(2000);
await me.say("Write a very long story about the sea, with many chapters.");
await me.at("stop").waitFor();
await me.page.waitForFunction(() => {
  const all = document.querySelectorAll('[data-testid="message"][data-role="assistant"] [data-testid="message-text"]');
  return all.length === 3 && all[2].innerText.length > 40;
});
await me.page.keyboard.press("Escape");
answer = await me.answered("stopped");
const stopped = await answer.locator('[data-testid="message-text"]').innerText();
assert.ok(stopped.length > 20);

// ---- Reload in the middle of an answer: the server goes on, and so does the page.
await answer.hover();
await answer.locator('[data-testid="regenerate"]').click();
await me.page.waitForFunction(() => {
  const all = document.querySelectorAll('[data-testid="message"][data-role="assistant"]');
  return all[all.length - 1].dataset.state === "running" && all[all.length - 1].innerText.length > 60;
});
await me.page.reload();
await me.page.waitForFunction(() => {
  const all = document.querySelectorAll('[data-testid="message"][data-role="assistant"]');
  return all.length === 3 && ["running", "done"].includes(all[2].dataset.state) && all[2].innerText.length > 60;
});
if (await me.at("stop").isVisible()) await me.at("stop").click();
await me.page.waitForFunction(() => {
  const all = document.querySelectorAll('[data-testid="message"][data-role="assistant"]');
  return ["stopped", "done"].includes(all[all.length - 1].dataset.state);
});

// ---- A draft survives.
await me.at("composer").fill("not sent yet");
await me.page.reload();
await me.page.waitForFunction(() => document.querySelector('[data-testid="composer"]')?.value === "not sent yet");
await me.at("composer").fill("");

// ---- Found again by what was said, on another device.
const kept = await api(base, "/v1/history");
assert.equal(kept.data.length, 1);
const other = await visitor(chromium, base, { viewport: PHONE, dark: true });
await other.page.goto(base);
await other.at("sidebar-toggle").click();
await other.at("search").fill("capital");
await other.at("history-item").first().waitFor();
await other.accessible("the sidebar on a telephone");
await other.picture("phone-sidebar");
await other.at("history-item").first().click();
await other.messages("assistant").first().waitFor();
await other.accessible("a conversation on a telephone, dark");
await other.picture("phone-conversation");
await other.leave();

// ---- Two answers side by side, one of them kept.
await me.at("new-chat").click();
await me.limit(24);
await me.at("composer").fill("Name a colour.");
await me.at("compare").click();
await me.at("compare-dialog").waitFor();
await me.accessible("the choice of what to compare");
await me.at("compare-choice").first().click();
await me.at("compare-dialog").waitFor({ state: "detached" });
await me.at("composer").press("Enter");
await me.at("keep").nth(1).waitFor();
await me.count("assistant", 2);
await me.accessible("two answers side by side");
await me.picture("compare");
await me.at("keep").nth(1).click();
await me.count("assistant", 1);
await me.reads(me.messages("assistant").first().locator('[data-testid="branch-label"]'), /2\D+2/);

// ---- The keyboard alone.
await me.page.keyboard.press("Control+Shift+O");
await me.page.waitForFunction(() => document.activeElement?.dataset.testid === "composer");
await me.page.keyboard.press("Control+k");
await me.page.waitForFunction(() => document.activeElement?.dataset.testid === "search");
await me.page.keyboard.press("Escape");
await me.at("composer").focus();
await me.page.locator("body").click({ position: { x: 640, y: 200 } });
await me.page.keyboard.press("?");
await me.at("help-dialog").waitFor();
await me.accessible("the help");
await me.page.keyboard.press("Escape");

// ---- In French.
const francais = await visitor(chromium, base, { locale: "fr-FR" });
await francais.page.goto(base);
await francais.at("composer").waitFor();
assert.equal(await francais.page.locator("html").getAttribute("lang"), "fr");
await francais.reads(francais.at("ai-notice"), /IA/);
await francais.picture("french");
await francais.leave();

// ---- Deleted for good.
for (const { id } of (await api(base, "/v1/history")).data) await api(base, `/v1/history/${id}`, { method: "DELETE" });
assert.equal((await api(base, "/v1/history?q=capital")).data.length, 0);

await me.leave();
await chromium.close();
assert.equal(await violations(base), 0);
