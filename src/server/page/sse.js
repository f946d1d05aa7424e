// Server-sent events, as far as an OpenAI stream uses them.

/// Yields the data of every event of a response body, as strings.  Lines may end in \n, \r\n or \r and may be split
/// anywhere between chunks, in the middle of a character as well.  Comments, names and ids are passed over; an event that
/// the stream breaks off in is dropped, as the standard says.
/// Source    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
export async function* readEvents(body) {
  const reader = body.getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/// Bytes in, data of whole events out.
export class EventParser {
  #decoder = new TextDecoder();
  #rest = ""; // an unfinished line
  #data = []; // data lines of the unfinished event

  push(bytes) {
    let text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    // A \r at the end may be half of a \r\n: it stays until more comes.
    const held = text.endsWith("\r") ? "\r" : "";
    text = text.slice(0, text.length - held.length);
    const lines = text.split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + held;
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length > 0) events.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return events;
  }
}
