/* What was typed into a form outlives the page until the server has taken it: a reload, a server that starts anew, a
   session that ends. It is kept in this tab alone, for whoever typed it, with the place it belongs to, which is opened
   again; where that is gone the text is offered. What was half written about an answer or a memory is there again when
   one comes back to it. The message box has a draft of its own (page.js). Passwords are never kept. */
(() => {
  const { say, find, make, whenThere } = window.nightschool;
  const KEPT = "nightschool forms";
  const FIELD = "input:not([type=file], [type=hidden], [type=submit], [type=button]), textarea, select";
  const ROOTS = "#feedback-form, #memory-one, dialog, #memory-query, #search";
  const SECONDS = 30; // How long a page is waited for that has not said yet what there is on it.

  const OF_ONE = ["feedback-form", "memory-one"]; // Forms of Gradio's, about one of many, each with a text of its own.

  const read = () => JSON.parse(sessionStorage.getItem(KEPT)) || { forms: {} };
  const write = (all) => {
    if (Object.keys(all.forms).length) sessionStorage.setItem(KEPT, JSON.stringify(all));
    else sessionStorage.removeItem(KEPT);
  };
  const nameOf = (root) => [location.pathname, root.id, ...(OF_ONE.includes(root.id) ? [aboutOf(root)] : [])].join(" ");
  const isSearch = (root) => root.matches("#memory-query, #search");
  const aboutOf = (root) => root.querySelector("[data-about]")?.dataset.about;
  const fieldsOf = (root) => [...root.querySelectorAll(FIELD)];
  const isTick = (field) => field.type === "checkbox" || field.type === "radio";
  /* By what a field is known when its form is shown again, perhaps with other boxes to tick. */
  const named = (fields) => {
    let texts = 0;
    return fields.map((field) => [isTick(field) ? `tick ${field.closest("label")?.textContent.trim()}` : `text ${texts++}`, field]);
  };
  const valueOf = (field) => (field.type === "password" ? "" : isTick(field) ? field.checked : field.value);

  let me = null; // Whose page this is, once that is known.
  let pressed = {}; // What the button bears that opened the dialog.
  let filling = false; // Whether a box is being ticked from here, which a browser calls a user's doing.

  const keep = (root) => {
    if (!me || find("#passing")) return;
    const all = read(), fields = fieldsOf(root);
    const values = Object.fromEntries(named(fields).map(([name, field]) => [name, valueOf(field)]));
    const texts = fields.filter((field) => !isTick(field) && field.tagName !== "SELECT" && valueOf(field)).map(valueOf);
    all.who = me;
    if (isSearch(root) && !texts.length) delete all.forms[nameOf(root)];
    else all.forms[nameOf(root)] = {
      about: aboutOf(root), within: window.nightschool.conversation(), pressed: root.matches("dialog") ? pressed : null,
      open: true, values, texts,
    };
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

  // A form about one of many that is put away, or shows another one, keeps its text for when that one is shown again: by
  // then the server has filled it in anew, and says so.
  const drawn = {};
  const look = () => {
    if (!me) return;
    for (const id of OF_ONE) {
      const root = document.getElementById(id);
      const now = root?.querySelector("[data-drawn]")?.dataset.drawn;
      if (now === drawn[id]) continue;
      const all = read(), of = `${location.pathname} ${id} `;
      for (const [name, kept] of Object.entries(all.forms)) if (name.startsWith(of)) kept.open = Boolean(root) && name === nameOf(root);
      write(all);
      // Its fields may come after it.
      const mine = root && all.forms[nameOf(root)];
      if (!mine || fill(root, mine)) drawn[id] = now;
    }
  };
  for (const place of ["#below", "#memory-page"])
    whenThere(place, (node) => new MutationObserver(look).observe(node, { childList: true, subtree: true }));

  // A dialog sends what is in it as it closes.
  document.addEventListener("close", (event) => {
    const box = event.target;
    if (box instanceof HTMLDialogElement && box.returnValue !== "yes") drop(nameOf(box));
  }, true);
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
    const fields = named(fieldsOf(root)), known = new Set(fields.map(([name]) => name));
    if (Object.keys(kept.values).some((name) => name.startsWith("text") && !known.has(name))) return false;
    for (const [name, field] of fields) if (field.type !== "password" && name in kept.values) put(field, kept.values[name]);
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
      if (placeOf(kept.about) < 0) return kept.within === window.nightschool.conversation() ? null : "elsewhere";
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
      // What was put away is there when one comes back to it.
      if (path !== location.pathname || !kept.open) continue;
      const search = id === "search" || id === "memory-query";
      if (search && plain) { drop(name); continue; }
      if (search) await until(() => document.getElementById(id)?.querySelector(FIELD));
      const root = await reopen(id, kept);
      if (root !== "elsewhere" && !(root && fill(root, kept)) && kept.texts.length) offer(name, kept);
    }
  };

  Object.assign(window.nightschool, {
    /* Who is at the page: what somebody else typed in this tab is not theirs to see. */
    arrive: (who) => {
      if (me) return;
      me = who;
      const all = read();
      if (all.who && all.who !== me) sessionStorage.removeItem(KEPT);
      look();
      restore();
    },
    put,
    /* What a dialog holds is on its way, under this name. */
    sent: (box, typed) => {
      const all = read();
      if (!all.forms[nameOf(box)]) return;
      all.forms[nameOf(box)].typed = typed;
      write(all);
    },
    /* The server has taken what was sent under this name, or about this one; or it knows nothing of this one any more. */
    done: (of) => {
      for (const [name, kept] of Object.entries(read().forms)) if ([kept.typed, kept.about, kept.within].includes(of)) drop(name);
    },
    /* A dialog is opened by a button that bears this. */
    opening: (data) => { pressed = { ...data }; },
    /* The page is about to be left for itself. */
    leaving: () => sessionStorage.setItem("nightschool back", "1"),
  });
})();
