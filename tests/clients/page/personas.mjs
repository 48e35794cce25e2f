// A character card is brought in, talked to, changed and deleted. Usage: personas.mjs BASE_URL CARD_FILE
// The server lets clients edit personas. The card is JSON with creator's notes and a first message; it is
// brought in as it is, and inside a picture.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import { PHONE, api, browser, violations, visitor } from "./browser.mjs";

const [base, file] = process.argv.slice(2);
/** A picture of one colour that holds the card, as programs that make cards write it. */
const asPicture = (card, side = 64) => {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2], 8);
  const row = Buffer.from([0, ...Array.from({ length: side }, () => [70, 110, 160]).flat()]);
  const pixels = deflateSync(Buffer.concat(Array.from({ length: side }, () => row)));
  const text = Buffer.from(`ccv3\0${card.toString("base64")}`, "latin1");
  const signature = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  return Buffer.concat([signature, chunk("IHDR", head), chunk("tEXt", text), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]);
};
const personas = async () => (await api(base, "/v1/personas")).data;
const chromium = await browser();
const me = await visitor(chromium, base);
const { page } = me;
const card = me.at("persona-card");
const gallery = async () => {
  await me.at("personas").click();
  await me.at("personas-dialog").waitFor();
};
const close = async () => {
  await page.keyboard.press("Escape");
  await me.at("personas-dialog").waitFor({ state: "detached" });
};
/** Deletes the persona that is open in the gallery. */
const remove = async () => {
  await me.at("persona-delete").click();
  await me.at("confirm").click();
  await me.reads(me.at("personas-dialog"), /no persona yet/);
  assert.deepEqual(await personas(), []);
};

// ---- Dropped on the gallery.
assert.deepEqual(await personas(), [], "this test wants a server without personas");
await page.goto(base);
await gallery();
await me.reads(me.at("personas-dialog"), /no persona yet/);
await me.accessible("an empty gallery");
const dropped = await page.evaluateHandle(([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(bytes), (char) => char.charCodeAt(0))], name));
  return transfer;
}, [basename(file), readFileSync(file).toString("base64")]);
await me.at("personas-dialog").dispatchEvent("dragover", { dataTransfer: dropped });
await me.at("personas-dialog").dispatchEvent("drop", { dataTransfer: dropped });
await card.first().waitFor();
await card.first().click();
await remove();

// ---- Chosen with the button: its picture, its biography.
await me.at("persona-file").setInputFiles({ name: "card.png", mimeType: "image/png", buffer: asPicture(readFileSync(file)) });
await card.first().waitFor();
const [persona] = await personas();
const shown = persona.nickname || persona.name;
assert.ok(persona.editable && persona.picture && persona.creator_notes && persona.greetings.length);
assert.equal(await card.count(), 1);
const text = await card.innerText();
assert.ok(text.includes(shown) && text.includes(persona.creator_notes.slice(0, 40)), text);
await page.waitForFunction(() => document.querySelector('[data-testid="persona-card"] img')?.naturalWidth > 0);
await me.accessible("the gallery");
await me.picture("personas");

// ---- A chat that it begins.
await card.click();
await me.at("persona-start").waitFor();
await me.accessible("a persona");
await me.picture("persona");
await me.at("persona-start").click();
await me.count("assistant", 1);
const greeting = me.messages("assistant").first();
const said = persona.greetings[0].replace(/[*_]/g, "").trim().slice(0, 20);
await page.waitForFunction((said) => document.querySelector('[data-testid="message-text"]').innerText.includes(said), said);
assert.equal(await greeting.locator(".message-name").innerText(), shown);
await page.waitForFunction(() => document.querySelector('[data-testid="message"] img')?.naturalWidth > 0);
await me.limit(24);
await me.say("Hello! Who are you?");
await me.count("assistant", 2);
await me.answered();
const [{ id: kept }] = (await api(base, "/v1/history")).data;
const { settings, messages } = await api(base, `/v1/history/${kept}`);
assert.equal(settings.model, persona.id);
const { request } = await api(base, `/v1/history/${kept}/messages/${messages.at(-1).id}`);
assert.ok(!JSON.stringify(request.messages).includes("You are a helpful assistant."), "a persona has its own system prompt");
await me.accessible("a conversation with a persona");
await me.picture("persona-conversation");

// ---- What says that it is a machine stands before the conversation, outside of it, and is the page's own.
const notice = () => page.evaluate(() => {
  const notice = document.querySelector('[data-testid="ai-notice"]');
  const first = document.querySelector('[data-testid="message"]');
  const isBefore = Boolean(notice.compareDocumentPosition(first) & Node.DOCUMENT_POSITION_FOLLOWING);
  return { isBefore, isOutside: !notice.closest(".conversation, .message"), isSeen: notice.checkVisibility({ opacityProperty: true, visibilityProperty: true }), text: notice.innerText };
});
const model = persona.parent;
const expected = { isBefore: true, isOutside: true, isSeen: true, text: `You are talking to an AI (model ${model}). It can be wrong.` };
assert.deepEqual(await notice(), expected);

// ---- Changed.
const notes = "Has been <i>changed</i>.";
await gallery();
await card.click();
await me.at("persona-edit").click();
await me.at("persona-editor").waitFor();
await me.accessible("the editor of a persona");
await me.picture("persona-editor");
assert.equal(await me.at("persona-name").inputValue(), persona.name);
await me.at("persona-creator_notes").fill(notes);
await me.at("persona-save").click();
await me.at("persona-editor").waitFor({ state: "detached" });
await me.reads(me.at("personas-dialog").locator(".bio"), /^Has been <i>changed<\/i>\.$/);
const [changed] = await personas();
// What was not edited stays.
assert.deepEqual(changed, { ...persona, creator_notes: notes, modification_date: changed.modification_date });
await close();
await page.reload();
await me.count("assistant", 2);
assert.deepEqual(await notice(), expected);

// ---- On a telephone.
const phone = await visitor(chromium, base, { viewport: PHONE, dark: true });
await phone.page.goto(base);
await phone.at("sidebar-toggle").click();
await phone.at("personas").click();
await phone.at("persona-card").waitFor();
await phone.accessible("the gallery on a telephone");
await phone.picture("phone-personas");
await phone.at("persona-card").click();
await phone.at("persona-start").waitFor();
await phone.picture("phone-persona");
await phone.leave();

// ---- Deleted; what was said stays.
await gallery();
await card.click();
await remove();
await close();
assert.equal(await me.messages("assistant").count(), 2);
await api(base, `/v1/history/${kept}`, { method: "DELETE" });

await me.leave();
await chromium.close();
assert.equal(await violations(base), 0);
