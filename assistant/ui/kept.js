/* What was typed into a form and not sent outlives the page: a reload, a server that starts anew, a session that ends.
   It is kept in this tab alone, for whoever typed it, with the place it belongs to, which is opened again; where that
   is gone the text is offered. The message box has a draft of its own (page.js). Passwords are never kept. */
(() => {
  const { say, find, make, whenThere } = window.nightschool;
  const KEPT = "nightschool forms";
  const FIELD = "input:not([type=file], [type=hidden], [type=submit], [type=button]), textarea, select";
  const ROOTS = "#feedback-form, #memory-one, dialog, #memory-query, #search";
  const SECONDS = 30; // How long a page is waited for that has not said yet what there is on it.

  const read = () => JSON.parse(sessionStorage.getItem(KEPT)) || { forms: {} };
  const write = (all) => {
    if (Object.keys(all.forms).length) sessionStorage.setItem(KEPT, JSON.stringify(all));
    else sessionStorage.removeItem(KEPT);
  };
  const nameOf = (root) => `${location.pathname} ${root.id}`;
  const isSearch = (root) => root.matches("#memory-query, #search");
  const aboutOf = (root) => root.querySelector("[data-about]")?.dataset.about;
  const fieldsOf = (root) => [...root.querySelectorAll(FIELD)];
  const isTick = (field) => field.type === "checkbox" || field.type === "radio";
  const valueOf = (field) => (field.type === "password" ? "" : isTick(field) ? field.checked : field.value);

  let me = null; // Whose page this is, once that is known.
  let pressed = {}; // What the button bears that opened the dialog.
  let filling = false; // Whether a box is being ticked from here, which a browser calls a user's doing.
  const opened = new Set(); // Of the forms of this page, those that have been open since it was loaded.

  const keep = (root) => {
    if (!me || find("#passing")) return;
    const all = read(), fields = fieldsOf(root), values = fields.map(valueOf);
    const texts = fields.filter((field, at) => !isTick(field) && field.tagName !== "SELECT" && values[at]).map(valueOf);
    opened.add(nameOf(root));
    all.who = me;
    if (isSearch(root) && !texts.length) delete all.forms[nameOf(root)];
    else all.forms[nameOf(root)] = { about: aboutOf(root), pressed: root.matches("dialog") ? pressed : null, values, texts };
    write(all);
  };
  const drop = (name) => {
    const all = read();
    if (!(name in all.forms)) return;
    delete all.forms[name];
    write(all);
  };
  const typedInto = (event) => {
    const root = event.target instanceof Element && event.target.matches(FIELD) && event.target.closest(ROOTS);
    if (root && event.isTrusted && !filling) keep(root);
  };
  document.addEventListener("input", typedInto, true);
  document.addEventListener("change", typedInto, true);

  // ------------------------------------------------------------------ what is done with is forgotten

  // A form of Gradio's is gone when the server has said so; one that is about something else now has lost its text.
  const look = () => {
    for (const id of ["feedback-form", "memory-one"]) {
      const name = `${location.pathname} ${id}`, kept = read().forms[name], root = document.getElementById(id);
      if (kept && opened.has(name) && (!root || aboutOf(root) !== kept.about)) drop(name);
    }
  };
  for (const place of ["#below", "#memory-page"])
    whenThere(place, (node) => new MutationObserver(look).observe(node, { childList: true, subtree: true }));

  // A dialog sends what is in it as it closes: it is done with when the server has taken that.
  let sent = null;
  document.addEventListener("close", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLDialogElement)) return;
    if (box.returnValue === "yes") sent = { name: nameOf(box), act: pressed.act, id: pressed.id };
    else drop(nameOf(box));
  }, true);
  const ask = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await ask(...asked);
    if (sent && answer.ok && String(asked[0]).includes("/queue/join")) {
      const told = JSON.parse(asked[1].body).event_data;
      if (told && told.act === sent.act && told.id === sent.id) { drop(sent.name); sent = null; }
    }
    return answer;
  };
  document.addEventListener("submit", (event) => {
    if (event.target.matches("#who form")) for (const key of [KEPT, "nightschool typed"]) sessionStorage.removeItem(key);
  });

  // ------------------------------------------------------------------ back in its place

  // The server may still have something to say of a field that it has just shown: until it has, what was typed is put
  // there again, unless somebody types or presses anything.
  const put = (field, value) => {
    let touched = false;
    const stop = (event) => { touched = touched || (event.isTrusted && !filling); };
    const once = () => {
      if (touched || !field.isConnected || valueOf(field) === value) return;
      if (isTick(field)) {
        filling = true;
        field.click();
        filling = false;
        return;
      }
      field.value = value;
      field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
    };
    const acts = ["input", "click", "keydown"];
    for (const act of acts) document.addEventListener(act, stop, true);
    once();
    for (const later of [50, 200, 500, 1000]) setTimeout(once, later);
    setTimeout(() => { for (const act of acts) document.removeEventListener(act, stop, true); }, 1100);
  };
  const fill = (root, kept) => {
    const fields = fieldsOf(root);
    if (fields.length !== kept.values.length) return false;
    fields.forEach((field, at) => { if (field.type !== "password") put(field, kept.values[at]); });
    opened.add(nameOf(root));
    return true;
  };
  /* What `found` finds, as soon as it does; null where there is nothing of the kind, though the page is there. */
  const until = (found, there = () => false) => new Promise((resolve) => {
    const end = Date.now() + SECONDS * 1000;
    const again = () => {
      const complete = there() || Date.now() > end, it = found();
      if (it || complete) resolve(it || null); else setTimeout(again, 50);
    };
    again();
  });
  const opensIt = (kept) => [...document.querySelectorAll(`[data-ask="${kept.pressed.ask}"]`)].find((one) =>
    ["act", "id", "name"].every((key) => one.dataset[key] === kept.pressed[key]));
  const reopen = async (id, kept) => {
    if (id === "search" || id === "memory-query") return document.getElementById(id);
    if (id === "feedback-form") {
      const { placeOf, isLaid } = window.nightschool;
      await until(() => placeOf(kept.about) >= 0, isLaid);
      if (placeOf(kept.about) < 0) return null;
      window.nightschool.onAct("edit", { act: "rated", at: placeOf(kept.about) });
      return until(() => { const root = find("#feedback-form"); return root && aboutOf(root) === kept.about && root; });
    }
    if (id === "memory-one") {
      const of = new URLSearchParams(location.search).get("of");
      if (of !== kept.about) {
        window.nightschool.leaving();
        location.replace(`./memory?of=${encodeURIComponent(kept.about)}`);
        return new Promise(() => {});
      }
      history.replaceState(null, "", "./memory");
      return until(() => { const root = find("#memory-one"); return root && aboutOf(root) === kept.about && root; });
    }
    const opener = await until(() => opensIt(kept), () => find("[data-ask]"));
    if (!opener) return null;
    opener.click();
    return document.getElementById(id);
  };
  const offer = (name, kept) => {
    const box = make("section", { className: "ns-kept" });
    box.setAttribute("role", "status");
    const text = make("textarea", { readOnly: true, rows: 3, value: kept.texts.join("\n\n") });
    text.setAttribute("aria-label", say("What you had typed", "之前输入的内容"));
    const copy = make("button", { type: "button", className: "act", innerText: say("Copy", "复制") });
    copy.addEventListener("click", () => { text.select(); navigator.clipboard.writeText(text.value); });
    const away = make("button", { type: "button", className: "act", innerText: say("Discard", "丢弃") });
    away.addEventListener("click", () => { drop(name); box.remove(); });
    box.append(make("p", { innerText: say("You had typed this, and the place it was for is not there any more:",
      "之前输入的内容如下，它原来的位置已经不在了：") }), text, make("div", { className: "acts" }, copy, away));
    find("#gone").after(box);
  };
  const restore = async () => {
    // Who opens a page anew wants no search in it; who comes back to it does.
    const plain = performance.getEntriesByType("navigation")[0]?.type === "navigate" && !sessionStorage.getItem("nightschool back");
    sessionStorage.removeItem("nightschool back");
    for (const [name, kept] of Object.entries(read().forms)) {
      const [path, id] = name.split(" ");
      if (path !== location.pathname) continue;
      const search = id === "search" || id === "memory-query";
      if (search && plain) { drop(name); continue; }
      if (search) await until(() => document.getElementById(id)?.querySelector(FIELD));
      const root = await reopen(id, kept);
      if (!(root && fill(root, kept)) && kept.texts.length) offer(name, kept);
    }
  };

  Object.assign(window.nightschool, {
    /* Who is at the page: what somebody else typed in this tab is not theirs to see. */
    arrive: (who) => {
      if (me) return;
      me = who;
      const all = read();
      if (all.who && all.who !== me) sessionStorage.removeItem(KEPT);
      restore();
    },
    put,
    /* A dialog is opened by a button that bears this. */
    opening: (data) => { pressed = { ...data }; },
    /* The page is about to be left for itself. */
    leaving: () => sessionStorage.setItem("nightschool back", "1"),
  });
})();
