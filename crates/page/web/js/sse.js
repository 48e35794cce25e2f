// Reads server-sent events, whatever the borders of the network's chunks.

/** Takes text as it arrives and gives the data of the events that are complete. */
export class EventParser {
  #line = '';
  #data = [];
  #afterReturn = false;

  push(text) {
    const events = [];
    let start = 0;
    for (let at = 0; at < text.length; at += 1) {
      const char = text.charCodeAt(at);
      if (char !== 10 && char !== 13) { this.#afterReturn = false; continue; }
      // The \n of a \r\n, which may have come in two chunks, ends no second line.
      if (char === 10 && this.#afterReturn) { this.#afterReturn = false; start = at + 1; continue; }
      this.#afterReturn = char === 13;
      this.#take(this.#line + text.slice(start, at), events);
      this.#line = '';
      start = at + 1;
    }
    this.#line += text.slice(start);
    return events;
  }

  #take(line, events) {
    if (line === '') {
      if (this.#data.length) events.push(this.#data.join('\n'));
      this.#data = [];
    } else if (line.startsWith('data:')) {
      this.#data.push(line.slice(line[5] === ' ' ? 6 : 5));
    }
    // Comments (":…") keep the connection open; other fields are not used.
  }
}

/** The events of a response, parsed as JSON; the last is `{ done: true }` if the stream was whole. */
export async function* events(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const data of parser.push(decoder.decode(value, { stream: true }))) {
        if (data === '[DONE]') { yield { done: true }; return; }
        let event = null;
        try { event = JSON.parse(data); } catch { /* a broken event is left out; the stream goes on */ }
        if (event && typeof event === 'object') yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
