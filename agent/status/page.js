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
    for (const a of [...old.attributes]) if (!fresh.hasAttribute(a.name)) old.removeAttribute(a.name);
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
    const img = figure.querySelector("img"), caption = figure.querySelector("figcaption");
    let why = "", what = "";
    try {
      const answer = await ask(figure.dataset.src + "?width=" + Math.min(1280, Math.ceil(figure.clientWidth * devicePixelRatio) || 640));
      if (answer.ok) {
        what = decodeURIComponent(answer.headers.get("Heron-Caption") || "");
        const url = URL.createObjectURL(await answer.blob());
        img.onload = img.onerror = () => URL.revokeObjectURL(url);
        img.src = url;
        figure.dataset.at = new Date().toLocaleTimeString();
      } else {
        why = await answer.text();
      }
    } catch {
      why = "no answer from the device";
    }
    figure.classList.toggle("none", why !== "");
    figure.classList.toggle("blank", why !== "" && !figure.dataset.at); // there never was one to dim
    caption.textContent = why === "" ? what : why.trim() + (figure.dataset.at ? " (picture of " + figure.dataset.at + ")" : "");
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
  document.addEventListener("visibilitychange", judge); // whoever comes back sees at once that it is old
  window.addEventListener("pageshow", judge);
})();
