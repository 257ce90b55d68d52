// One stream of events for as long as the page is open.
//
// The server ends the stream of a session as soon as none of its events is left, and Gradio's client opens another one with the next
// event, unless it still takes the last one for open. So nobody hears of an event that the server accepts after it has ended the stream
// and before the browser has read so: the page waits for ever. Here the client has one stream that stays open, and the server's are
// copied into it one after another, as long as an event has been accepted whose end has not come.
//
// A message about no event in particular, an "unexpected_error", would make the client say "Error" beside every event that it follows,
// those included that were accepted after it was sent. Here the events that it concerns are told by their ids that their connection is
// lost. "Error" is left for an event that fails, one that the server refuses, and an exception in the client, which the console has.
(() => {
  const send = window.fetch.bind(window);
  const encoder = new TextEncoder();
  const unfinished = new Set(); // ids of events that were accepted
  const early = new Set(); // ids of those whose end has come before the answer that they are accepted
  let current = null; // what the client reads; null before it has asked for it
  const pathOf = (input) => new URL(input instanceof Request ? input.url : input, document.baseURI).pathname;

  const put = (stream, text) => stream.controller.enqueue(encoder.encode(`${text}\n\n`));

  // Told to each event by its id, so that one hears it which the client does not follow yet: it waits until it reaches a server, and
  // loads the page anew.
  const tellLost = (stream, message) => {
    for (const event_id of unfinished) put(stream, `data: ${JSON.stringify({ msg: 'broken_connection', event_id, message })}`);
    unfinished.clear();
    early.clear();
  };

  async function* messagesOf(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (let text = ''; ;) {
        const { done, value } = await reader.read();
        if (done) return;
        const messages = (text + value).split('\n\n');
        text = messages.pop();
        yield* messages;
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  const copy = async (stream) => {
    const answer = await send(stream.request.clone());
    if (!answer.ok) throw new Error(`the server refuses its events: ${answer.status}`);
    for await (const text of messagesOf(answer)) {
      const message = JSON.parse(text.slice(text.indexOf(':') + 1));
      if (message.msg === 'close_stream') return;
      // Without an id it is about all events: the server is ending, or knows the session no longer.
      if (message.msg === 'unexpected_error' && !message.event_id) throw new Error(message.message);
      if (message.msg === 'process_completed' && !unfinished.delete(message.event_id)) early.add(message.event_id);
      put(stream, text);
    }
    throw new Error('the server has broken off its events');
  };

  const read = async (stream) => {
    if (stream.isRead) return;
    stream.isRead = true;
    try {
      while (unfinished.size) await copy(stream);
    } catch (error) {
      if (!stream.request.signal.aborted) tellLost(stream, String(error));
    }
    stream.isRead = false;
  };

  const open = (request) => {
    const stream = { request, controller: null, isRead: false };
    const body = new ReadableStream({ start: (controller) => { stream.controller = controller; } });
    // The client leaves the page, or gives its events up.
    request.signal.addEventListener('abort', () => {
      if (current === stream) current = null;
      unfinished.clear();
      early.clear();
      stream.controller.error(request.signal.reason);
    });
    current = stream;
    read(stream);
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };

  window.fetch = async (input, init) => {
    const path = pathOf(input);
    if (path.endsWith('/queue/data')) return open(new Request(input, init));
    const answer = await send(input, init);
    if (!path.endsWith('/queue/join')) return answer;
    // No server was reached, or one that is ending. The client loads the page anew where there was no answer, and not after these.
    if ([502, 503, 504].includes(answer.status)) throw new TypeError(`no server has taken the event: ${answer.status}`);
    if (answer.ok) {
      const { event_id } = await answer.clone().json();
      if (!early.delete(event_id)) unfinished.add(event_id);
      if (current) read(current);
    }
    return answer;
  };
})();
