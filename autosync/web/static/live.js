// Follows the news for as long as the page is seen: a page in the background asks for nothing.

const AGAIN = 2000;

/** Call `on.state(state)`, `on.activity(list)` and `on.line(connected)`, from now on. */
export function follow(on) {
  let source = null;
  let timer = 0;

  function open() {
    if (source || document.hidden) return;
    source = new EventSource("news");
    source.addEventListener("open", () => on.line(true));
    source.addEventListener("state", (event) => on.state(JSON.parse(event.data)));
    source.addEventListener("activity", (event) => on.activity(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      close();
      on.line(false);
      timer = setTimeout(open, AGAIN);
    });
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
