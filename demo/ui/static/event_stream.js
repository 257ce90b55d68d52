// Gradio's client has one event stream for all events of a page, which the server closes after the last of them. An event that
// was accepted just before the client hears of the end would wait for ever, because the client takes the stream for open: a
// click that does nothing. So a stream that ends while events are outstanding goes on with a new request in place of its end.
(() => {
  const SETTLE_MS = 20; // in which the client takes note of the end of a stream
  const request = window.fetch;
  const outstanding = new Set();
  const completed = new Set(); // of the open stream: an event can be over before its acceptance is read
  let settled = Promise.resolve();

  const note = (message) => {
    if (message.msg === 'process_completed') {
      outstanding.delete(message.event_id);
      completed.add(message.event_id);
    } else if (message.msg === 'server_stopped' || message.msg === 'unexpected_error') {
      outstanding.clear();
    }
  };

  const parse = (block) => {
    try { return JSON.parse(block.replace(/^data:\s*/, '')); } catch { return {}; }
  };

  // The blocks of a stream, which an empty line ends.
  async function* blocks(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).split('\n\n');
        rest = parts.pop();
        yield* parts;
      }
    } finally {
      reader.cancel().catch(() => {});
    }
    if (rest) yield rest;
  }

  async function* messages(first, again) {
    for (let response = first; response; ) {
      let next = null;
      for await (const block of blocks(response)) {
        const message = parse(block);
        note(message);
        if (message.msg === 'close_stream') {
          if (outstanding.size) {
            next = await again();
            break;
          }
          settled = new Promise((resolve) => { setTimeout(resolve, SETTLE_MS); });
          completed.clear();
        }
        yield `${block}\n\n`;
      }
      response = next && next.ok ? next : null;
    }
  }

  window.fetch = async function fetchOrGoOn(input, init) {
    const { pathname } = new URL(input instanceof Request ? input.url : input, location.href);
    if (pathname.endsWith('/queue/join')) {
      const response = await request.call(this, input, init);
      const { event_id: id } = await response.clone().json().catch(() => ({}));
      if (response.ok && id && !completed.has(id)) outstanding.add(id);
      await settled;
      return response;
    }
    if (!pathname.endsWith('/queue/data')) return request.call(this, input, init);
    const again = () => request.call(this, input instanceof Request ? input.clone() : input, init);
    const response = await again();
    if (!response.ok || !response.body) return response;
    const source = messages(response, again);
    const encoder = new TextEncoder();
    const body = new ReadableStream({
      async pull(controller) {
        const { value, done } = await source.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      cancel: () => source.return(),
    });
    return new Response(body, { status: response.status, statusText: response.statusText, headers: response.headers });
  };
})();
