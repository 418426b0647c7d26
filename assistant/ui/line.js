/* The line by which the server knows that the page is there: Gradio asks for it by fetch, and holds it open. A browser
   holds six connections to one server and no more, so here the page says now and then that it is there, and that it
   goes, and a seventh tab works (lines.py). */
(() => {
  const SECONDS = 20;
  const ask = window.fetch;
  const line = async (request) => {
    const here = () => ask(request.url, { method: "POST" });
    const first = await here();
    if (!first.ok) return first;
    // One that fails says nothing: the page asks by itself whether the server answers.
    const timer = setInterval(() => here().catch(() => {}), SECONDS * 1000);
    const end = () => clearInterval(timer);
    request.signal.addEventListener("abort", end);
    addEventListener("pagehide", () => navigator.sendBeacon(request.url + "?gone"));
    addEventListener("pageshow", ({ persisted }) => { if (persisted) here().catch(() => {}); });
    return new Response(new ReadableStream({ cancel: end }), { headers: { "content-type": "text/event-stream" } });
  };
  window.fetch = (...asked) => {
    const [request] = asked;
    return request instanceof Request && request.url.includes("/gradio_api/heartbeat/") ? line(request) : ask(...asked);
  };
})();
