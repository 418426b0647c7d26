/* The line by which the server knows that the page is there: Gradio asks for it by fetch, here it is a WebSocket. A
   browser keeps six connections to one server and no more, but for these, so that a seventh tab works (lines.py). Where
   there is none to be had, as behind some proxies, it is asked for as ever. */
(() => {
  const ask = window.fetch;
  const asLine = (request) => new Promise((resolve) => {
    const line = new WebSocket(request.url.replace(/^http/, "ws"));
    let told, open = false;
    const said = new ReadableStream({ start: (controller) => { told = controller; }, cancel: () => line.close() });
    request.signal.addEventListener("abort", () => line.close());
    line.onopen = () => {
      open = true;
      resolve(new Response(said.pipeThrough(new TextEncoderStream()), { headers: { "content-type": "text/event-stream" } }));
    };
    line.onmessage = ({ data }) => told.enqueue(data);
    line.onclose = () => { if (open) told.error(new TypeError("the line is broken")); else resolve(ask(request)); };
  });
  window.fetch = (...asked) => {
    const [request] = asked;
    return request instanceof Request && request.url.includes("/gradio_api/heartbeat/") ? asLine(request) : ask(...asked);
  };
})();
