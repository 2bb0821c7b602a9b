// Keeps the page true: asks the device for it again every second, and says plainly when no answer comes.
// The device renders; nothing is computed here, so the page with and without this script tells the same.
"use strict";
(() => {
  const every = 1000, deadline = 4000, patience = 3500; // ms
  const banner = document.getElementById("stale");
  let answered = performance.now(), answeredAt = new Date();

  // The performance clock may stand still while a laptop sleeps, the wall clock may step: the longer of both counts.
  const silence = () => Math.max(performance.now() - answered, Date.now() - answeredAt.getTime());

  function judge() {
    const stale = silence() > patience;
    document.body.classList.toggle("stale", stale);
    banner.hidden = !stale;
    if (!stale) return;
    banner.textContent = "No answer from the device since " + answeredAt.toLocaleTimeString() +
      " (" + Math.round(silence() / 1000) + " s). What is below is from then, not from now.";
    document.title = "No answer";
  }

  // morph makes old like fresh and touches only what differs, so that selections and pictures stay.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.hasAttribute("data-own") && old.dataset.camera === fresh.dataset.camera) return;
    if (old.hasAttribute("data-own")) return old.replaceWith(fresh);
    const theirs = (name) => name === "open" && old.nodeName === "DETAILS"; // who opened it wants to read it
    for (const a of [...old.attributes]) if (!fresh.hasAttribute(a.name) && !theirs(a.name)) old.removeAttribute(a.name);
    for (const a of fresh.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
    const now = [...old.childNodes], next = [...fresh.childNodes];
    now.slice(next.length).forEach((n) => n.remove());
    next.forEach((n, i) => (now[i] ? morph(now[i], n) : old.append(n)));
  }

  async function ask(url) {
    return fetch(url, { cache: "no-store", signal: AbortSignal.timeout(deadline) });
  }

  async function page() {
    const answer = await ask("/");
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    morph(document.getElementById("main"), document.adoptNode(fresh.getElementById("main")));
    document.title = fresh.title;
    answered = performance.now();
    answeredAt = new Date();
  }

  async function picture(figure) {
    if (streams.get(figure)?.shows) return;
    const img = figure.querySelector("img"), caption = figure.querySelector("figcaption");
    let why = "", what = "";
    try {
      const answer = await ask(figure.dataset.src + "?width=" + Math.min(1280, Math.ceil(figure.clientWidth * devicePixelRatio) || 640));
      if (answer.ok) {
        what = decodeURIComponent(answer.headers.get("Heron-Caption") || "");
        show(figure, await answer.blob());
      } else {
        why = await answer.text();
      }
    } catch {
      why = "no answer from the device";
    }
    if (streams.get(figure)?.shows) return; // it began meanwhile
    figure.classList.toggle("none", why !== "");
    figure.classList.toggle("blank", why !== "" && !figure.dataset.at); // there never was one to dim
    const refused = streams.get(figure)?.refused || "";
    caption.textContent = why === "" ? [what, refused].filter(Boolean).join(" · ") : why.trim() + (figure.dataset.at ? " (picture of " + figure.dataset.at + ")" : "");
  }

  function show(figure, blob) {
    const img = figure.querySelector("img"), url = URL.createObjectURL(blob);
    img.onload = img.onerror = () => URL.revokeObjectURL(url);
    img.src = url;
    figure.dataset.at = new Date().toLocaleTimeString();
  }

  // Live view, for who asks for it: one answer of the device that is picture after picture, with what each became. Where it is refused
  // or breaks off, the pictures of every second go on and it is asked for again. The address remembers it (#live=NAME), nothing else does.
  const streams = new Map(); // figure → { stop, shows, refused, again }
  const wanted = () => new Set((location.hash.match(/^#live=(.*)$/)?.[1] || "").split(",").filter(Boolean).map(decodeURIComponent));

  function toggle(camera) {
    const names = wanted();
    if (!names.delete(camera)) names.add(camera);
    history.replaceState(null, "", names.size ? "#live=" + [...names].map(encodeURIComponent).join(",") : location.pathname);
    live();
  }

  // live starts and ends streams as the buttons and the tab want it.
  function live() {
    const names = wanted(), figures = [...document.querySelectorAll("figure[data-own]")];
    for (const [figure, s] of streams) if (!figures.includes(figure)) s.stop?.abort(), streams.delete(figure);
    for (const figure of figures) {
      const button = figure.querySelector("button.live"), on = names.has(figure.dataset.camera), s = streams.get(figure);
      button.hidden = false;
      button.setAttribute("aria-pressed", on);
      button.classList.toggle("on", on && !!s?.shows); // red is for what is live, not for what was asked for
      button.lastChild.nodeValue = on && !s?.shows ? "Live: waiting" : "Live";
      button.onclick = () => toggle(figure.dataset.camera);
      if ((!on || document.hidden) && s) s.stop?.abort(), streams.delete(figure);
      else if (on && !document.hidden && !(s && (s.stop || performance.now() < s.again))) follow(figure);
    }
  }

  async function follow(figure) {
    const stop = new AbortController(), s = { stop, shows: false, refused: "", again: 0 };
    streams.set(figure, s);
    let dog;
    const feed = () => { clearTimeout(dog); dog = setTimeout(() => stop.abort(), 6000); }; // a stream that has nothing new says so sooner
    try {
      feed();
      const width = Math.min(1280, Math.ceil(figure.clientWidth * devicePixelRatio) || 640);
      const answer = await fetch("/stream/" + encodeURIComponent(figure.dataset.camera) + ".mjpg?draw=1&width=" + width, { cache: "no-store", signal: stop.signal });
      if (!answer.ok) {
        s.refused = "no live view: " + (await answer.text()).trim();
        s.again = performance.now() + 1000 * (answer.headers.get("Retry-After") || 10);
        return;
      }
      for await (const part of parts(answer.body.getReader())) {
        feed();
        if (stop.signal.aborted) return;
        if (!s.shows) (s.shows = true), live();
        show(figure, part.picture);
        figure.classList.remove("none", "blank");
        figure.querySelector("figcaption").textContent = decodeURIComponent(part.head.get("heron-caption") || "");
      }
    } catch {
      // it says nothing more than that it is over
    } finally {
      s.again = Math.max(s.again, performance.now() + 1000);
      clearTimeout(dog);
      s.stop = null;
      s.shows = false;
      live();
    }
  }

  // parts takes a multipart answer apart: header lines, an empty one, as many bytes as Content-Length says.
  async function* parts(reader) {
    let have = new Uint8Array(0);
    const text = new TextDecoder("latin1");
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const all = new Uint8Array(have.length + value.length);
      all.set(have);
      all.set(value, have.length);
      have = all;
      for (;;) {
        const raw = text.decode(have.subarray(0, 4096)), end = raw.indexOf("\r\n\r\n");
        if (end < 0) {
          if (have.length > 1 << 20) throw new Error("no header");
          break;
        }
        const head = new Map(raw.slice(0, end).split("\r\n").filter((l) => l.includes(":")).map((l) => [l.slice(0, l.indexOf(":")).toLowerCase(), l.slice(l.indexOf(":") + 1).trim()]));
        const size = Number(head.get("content-length"));
        if (!(size > 0 && size < 1 << 24)) throw new Error("no length");
        if (have.length < end + 4 + size) break;
        yield { head, picture: new Blob([have.subarray(end + 4, end + 4 + size)], { type: "image/jpeg" }) };
        have = have.slice(end + 4 + size);
      }
    }
  }

  async function loop(act) {
    for (;;) {
      if (!document.hidden) await act().catch(() => {});
      judge();
      await new Promise((go) => setTimeout(go, every));
    }
  }

  loop(page);
  loop(() => Promise.all([...document.querySelectorAll("figure[data-own]")].map(picture)));
  setInterval(judge, 500);
  live();
  setInterval(live, 1000); // a camera may have come, a stream may have broken off
  window.addEventListener("hashchange", live);
  document.addEventListener("visibilitychange", live);
  document.addEventListener("visibilitychange", judge); // whoever comes back sees at once that it is old
  window.addEventListener("pageshow", judge);
})();
