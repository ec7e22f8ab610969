// Asks again and again while somebody looks: for what the stream of changes does not tell.

// Runs `look` now, every so many milliseconds while the page is to be seen, and when it comes to be seen again. A run that is
// not done is waited for. Gives what ends it.
export function poll(ms, look) {
  let [busy, ended] = [false, false];
  const run = async () => {
    if (busy || ended || document.visibilityState !== "visible") return;
    busy = true;
    try {
      await look();
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(run, ms);
  document.addEventListener("visibilitychange", run);
  run();
  return () => {
    ended = true;
    clearInterval(timer);
    document.removeEventListener("visibilitychange", run);
  };
}
