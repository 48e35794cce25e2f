// A server that keeps no history: conversations live in the browser. Usage: local.mjs BASE_URL

import assert from "node:assert/strict";
import { api, browser, violations, visitor } from "./browser.mjs";

const base = process.argv[2];
const text = '[data-testid="message-text"]';
assert.equal((await api(base, "/v1/history")).error.code, "history_off");
const chromium = await browser();
const me = await visitor(chromium, base);
const { page } = me;
await page.goto(base);
await me.reads(page.locator("#sidebar"), /kept in this browser only/);
await me.accessible("a first visit without history");

// ---- An answer, there again after a reload.
await me.limit(24);
await me.say("What is the capital of France?");
let answer = await me.answered();
await me.reads(answer.locator(text), /Paris/);
await me.reads(answer.locator('[data-testid="stats"]'), /tokens\/s/);
await page.reload();
answer = await me.answered();
await me.reads(answer.locator(text), /Paris/);
await me.reads(me.at("history-item"), /What is the capital of France\?/);
await answer.hover();
await answer.locator('[data-testid="inspect"]').click();
await me.at("inspect-prompt").click();
await me.reads(me.at("inspect-dialog"), /You are a helpful assistant\.[^]*capital of France/);
await page.keyboard.press("Escape");

// ---- Branches: another answer, another question.
await answer.locator('[data-testid="regenerate"]').click();
await me.reads(answer.locator('[data-testid="branch-label"]'), /2\D+2/);
await me.answered();
const question = me.messages("user").first();
await question.hover();
await question.locator('[data-testid="edit"]').click();
await me.at("edit-text").fill("What is the capital of Germany?");
await me.at("edit-save").click();
await me.reads(question.locator('[data-testid="branch-label"]'), /2\D+2/);
await me.answered();
await me.reads(answer.locator(text), /Berlin/);
await page.reload();
await me.answered();
await me.reads(answer.locator(text), /Berlin/);
await question.locator('[data-testid="branch-prev"]').click();
await me.reads(answer.locator(text), /Paris/);

// ---- Stopped, and continued.
await me.limit(2000);
await me.say("Write a very long story about the sea, with many chapters.");
await me.at("stop").waitFor();
await me.reads(me.messages("assistant").last().locator(text), /.{40}/s);
await me.at("stop").click();
answer = await me.answered("stopped");
await me.limit(8);
const before = (await answer.locator(text).innerText()).length;
await answer.locator('[data-testid="continue"]').click();
answer = await me.answered();
await page.waitForFunction((before) => [...document.querySelectorAll('[data-testid="message-text"]')].at(-1).innerText.length > before, before);

// ---- Found, and brought in from a file, with what is no text at all.
await me.at("search").fill("story");
await me.reads(me.at("history-item").locator("mark").first(), /story/i);
await me.at("search").fill("");
await me.at("preferences").click();
const odd = '{"object":"history.export","version":1,"conversations":[{"title":"lone \\ud800","messages":[{"id":"a","role":"user","content":"\\udc00 question \\ud800"},{"id":"b","parent":"a","role":"assistant","content":"an \\ud83d odd **answer** \\udfff"}]}]}';
await me.at("preferences-dialog").locator('input[type="file"]').setInputFiles({ name: "export.json", mimeType: "application/json", buffer: Buffer.from(odd) });
await me.reads(page.locator("#toasts"), /1 conversation imported/);
await page.keyboard.press("Escape");
await me.at("history-item").filter({ hasText: "lone" }).click();
await me.count("assistant", 1);
await me.reads(me.messages("assistant").locator(text), /odd answer/);
await me.accessible("a conversation without history");

// ---- Others see nothing of it.
const other = await visitor(chromium, base);
await other.page.goto(base);
await other.reads(other.page.locator(".sidebar-note"), /listed here/);
await other.leave();

// ---- Deleted: a message, then a conversation, then all.
await me.messages("assistant").hover();
await me.messages("assistant").locator('[data-testid="delete"]').click();
await me.at("confirm").click();
await me.count("assistant", 0);
await page.reload();
await me.count("user", 1);
assert.equal(await me.messages("assistant").count(), 0);
await page.locator(".title-button").click();
await me.at("delete-conversation").click();
await me.at("confirm").click();
await page.waitForFunction(() => document.querySelectorAll('[data-testid="history-item"]').length === 1);
await me.at("preferences").click();
await me.at("preferences-dialog").getByRole("button", { name: "Delete all" }).click();
await me.at("confirm").click();
await me.reads(page.locator(".sidebar-note"), /listed here/);
await page.reload();
await me.reads(page.locator(".sidebar-note"), /listed here/);

await me.leave();
await chromium.close();
assert.equal(await violations(base), 0);
