/* What the pages do in the browser beyond Gradio: keys, what stands beneath an answer, drafts, and telling when the
   server or the session has gone. It asks this server alone, and keeps nothing but what is typed, in this tab (what is
   typed into forms: kept.js), and whether the list beside the chat is hidden. */
(() => {
  const zh = navigator.language.toLowerCase().startsWith("zh");
  document.documentElement.lang = zh ? "zh" : "en";
  const say = (en, cn) => (zh ? cn : en);
  const find = (selector) => document.querySelector(selector);
  const DRAFT = "nightschool typed";

  // ------------------------------------------------------------------ no code out of text

  // Gradio's HTML widget wants functions made of texts: its template's, twice, and its `js_on_load`. The content policy
  // lets nobody make any; these are the ones that our widgets need, by their texts, and there are no others.
  const MADE = {
    'return "${value}";': () => "${value}",
    "return `${value}`;": ({ value }) => `${value}`,
    'return "";': () => "",
    "return ``;": () => "",
    // What a widget does that was given nothing to do: nobody listens.
    "element.addEventListener('click', function() { trigger('click') });": () => {},
    // A widget full of buttons: one that is pressed sends its data; `data-ask` names a dialog that asks first.
    board: ({ element, trigger }) => element.addEventListener("click", (event) => {
      const pressed = event.target.closest("[data-act]");
      if (pressed) press(pressed, (act) => trigger("select", act));
    }),
    // What became of what was typed and sent.
    outcome: ({ props, watch }) => {
      const take = () => { if (props.value) page.became(JSON.parse(props.value)); };
      watch("value", take);
      take();
    },
    // What the chat page tells this script, and what this script tells it.
    desk: ({ props, trigger, watch }) => {
      const take = () => page.lay(props.value);
      page.onAct = trigger;
      watch("value", take);
      take();
    },
  };
  const made = (texts) => {
    const names = texts.slice(0, -1);
    const known = MADE[String(texts.at(-1)).trim()];
    if (!known) throw new EvalError("this page makes no code out of text");
    return (...values) => known(Object.fromEntries(names.map((name, at) => [name, values[at]])));
  };
  window.Function = new Proxy(Function, { apply: (_, self, texts) => made(texts), construct: (_, texts) => made(texts) });

  // ------------------------------------------------------------------ no HTML out of text

  // On its way here a character that is none stands for `<`, one for tabs in code, and one for the `>` behind an address (talk.py):
  // what came of it is text by now. In formulas it is an entity, which only what is copied still shows.
  const SIGN = "\uFDD0";
  const TAB = "\uFDD2";
  const END = /\uFEFF?\uFDD3/g;
  const isSigned = (text) => /[\uFDD0\uFDD2\uFDD3]/.test(text);
  const signed = (text) => text.replaceAll(SIGN, "<").replaceAll(TAB, "\t").replace(END, ">");
  const copied = (text) => signed(text).replaceAll("&#x00003C;", "<");
  const unsign = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      if (isSigned(node.data)) node.data = signed(node.data);
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (isSigned(node.textContent)) {
      const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) unsign(texts.currentNode);
    }
    if (zh) for (const one of node.querySelectorAll(".toast-title")) {
      const name = one.firstChild?.data?.trim();
      if (name in CHINESE) one.firstChild.data = CHINESE[name];
    }
    if (zh) node.querySelectorAll(TOLD).forEach(refused);
    for (const one of [node, ...node.querySelectorAll(NAMES.map((name) => `[${name}]`).join())]) NAMES.forEach((name) => rename(one, name));
  };
  // What Gradio says in English alone.
  const CHINESE = {
    Like: "赞", Liked: "已赞", Dislike: "踩", Disliked: "已踩", "Copy message": "复制消息", "Message copied": "已复制",
    "Click to upload or drop files": "点击上传文件，或拖放到这里", Close: "关闭",
    Warning: "注意", Info: "提示", Error: "错误", Success: "完成",
  };
  const REFUSED = [
    [/^Invalid file types?: (.*?)(?: and (\d+) more)?\. Only (.*) allowed\.$/s, (_, files, more, known) =>
      `不能添加这种文件：${files}${more ? ` 等，另有 ${more} 个` : ""}。可以添加的是 ${known}。`],
    [/^Invalid file type\. Please upload a file that is one of these formats: \[(.*)\]$/, "不能添加这种文件。可以添加的是 $1。"],
    [/^File\(s\) exceed the maximum allowed size of (.*?): (.*)$/s, "文件超过大小上限 $1：$2"],
  ];
  const TOLD = "[data-testid=toast-text]", TOAST = "[data-testid=toast-body]";
  // What `#gone` says, too, in the page's language, and for as long as it holds.
  const LOST = "Connection to the server was lost. Attempting reconnection...";
  const twice = (toast) => {
    const all = [...toast.querySelectorAll(TOLD)];
    const lost = all.length > 0 && all.every((one) => one.textContent.trim() === LOST);
    if (lost && !toast.hidden) look();
    toast.hidden = lost;
  };
  const refused = (one) => {
    const told = one.textContent.trim();
    const now = REFUSED.reduce((text, [english, chinese]) => text.replace(english, chinese), told);
    if (now !== told) one.textContent = now;
  };
  const NAMES = ["alt", "title", "href", "aria-label"];
  const rename = (one, name) => {
    const said = one.getAttribute(name);
    if (!said) return;
    let now = signed(said);
    if (zh && name !== "href") now = (CHINESE[now] || now).replace(/^bot's message:/, "回答：").replace(/^user's message:/, "消息：");
    if (now !== said) one.setAttribute(name, now);
  };
  new MutationObserver((records) => {
    for (const { type, target, attributeName, addedNodes } of records) {
      if (type !== "attributes") {
        const around = (target instanceof Element ? target : target.parentElement)?.closest(TOAST);
        if (around) twice(around);
        for (const one of addedNodes) if (one instanceof Element) (one.matches(TOAST) ? [one] : one.querySelectorAll(TOAST)).forEach(twice);
      }
      if (type === "characterData") unsign(target);
      else if (type === "attributes") rename(target, attributeName);
      else {
        addedNodes.forEach(unsign);
        const told = zh && addedNodes.length && target.closest?.(TOLD);
        if (told) refused(told);
      }
    }
  }).observe(document.documentElement, { childList: true, characterData: true, subtree: true, attributeFilter: NAMES });
  if (navigator.clipboard) {
    const write = navigator.clipboard.writeText.bind(navigator.clipboard);
    navigator.clipboard.writeText = (text) => write(copied(text));
    // Gradio's button takes the code without the spaces that it begins with.
    document.addEventListener("click", (event) => {
      const button = event.target instanceof Element && event.target.closest(".copy_code_button");
      const code = button && button.parentElement.querySelector("code");
      if (!code) return;
      event.stopImmediatePropagation();
      const done = button.children[1];
      navigator.clipboard.writeText(code.textContent.replace(/\n$/, "")).then(() => {
        if (!done) return;
        done.style.opacity = 1;
        setTimeout(() => { done.style.opacity = 0; }, 2000);
      });
    }, true);
  }
  // Where there is no clipboard to write to (over plain HTTP from elsewhere), Gradio has the browser copy a text box.
  document.addEventListener("copy", (event) => {
    const box = document.activeElement;
    const text = box instanceof HTMLTextAreaElement ? box.value.slice(box.selectionStart, box.selectionEnd) : "";
    if (copied(text) === text) return;
    event.clipboardData.setData("text/plain", copied(text));
    event.preventDefault();
  });

  // Gradio tells of a file that it does not take in HTML that has the file's name in it.
  const named = (files) => {
    const renamed = new DataTransfer();
    for (const file of files) renamed.items.add(new File([file], file.name.replaceAll("<", SIGN), { type: file.type, lastModified: file.lastModified }));
    return renamed;
  };
  const tagged = (files) => [...(files || [])].some((file) => file.name.includes("<"));
  document.addEventListener("change", ({ target }) => {
    if (target.type === "file" && tagged(target.files)) target.files = named(target.files).files;
  }, true);
  document.addEventListener("drop", (event) => {
    if (!tagged(event.dataTransfer?.files)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: named(event.dataTransfer.files) }));
  }, true);

  // ------------------------------------------------------------------ small things

  // The second click of a double click would take back the thumb that the first one gave.
  document.addEventListener("click", (event) => {
    const again = event.detail > 1 && event.target instanceof Element && event.target.closest("#conversation button");
    if (again && !again.closest(".ns-tools")) event.stopImmediatePropagation();
  }, true);

  const make = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };

  const whenThere = (selector, act) => {
    const there = find(selector);
    if (there) return act(there);
    const watcher = new MutationObserver(() => {
      const node = find(selector);
      if (node) { watcher.disconnect(); act(node); }
    });
    watcher.observe(document.documentElement, { childList: true, subtree: true });
  };

  // A button beside a text that is shown once. Over plain HTTP from elsewhere there is no clipboard: then it is selected.
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element && target.closest("[data-copy]");
    const code = button && button.parentElement.querySelector("code");
    if (!code) return;
    getSelection().selectAllChildren(code);
    navigator.clipboard?.writeText(code.textContent).then(() => { button.textContent = say("Copied", "已复制"); });
  });

  // ------------------------------------------------------------------ keys

  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const control = event.ctrlKey || event.metaKey;
    const press = (selector) => { const node = selector && find(selector); if (node) { event.preventDefault(); node.click(); } };
    if (event.key === "Escape" && !find("dialog[open]")) {
      const ways = ["#stop", "#edit-cancel", "#feedback-cancel"];
      if (find("#feedback-form")?.contains(event.target)) ways.splice(1, 0, ways.pop());
      press(ways.find(find));
    } else if (control && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      const search = find("#search input, #search textarea");
      // An answer that is being written would end with the page, and of a temporary chat nothing would be left.
      if (search) search.focus(); else if (find("#stop, #passing")) window.open("./history"); else location.href = "./history";
    } else if (control && event.shiftKey && event.key.toLowerCase() === "o") {
      event.preventDefault();
      if (find("#new-chat")) press("#new-chat"); else location.href = "./?new";
    }
  });

  // ------------------------------------------------------------------ the list beside the chat

  const LIST = "nightschool list";
  const list = (to) => { document.documentElement.dataset.list = to; };
  list(localStorage.getItem(LIST) || "open");
  document.addEventListener("click", (event) => {
    const beside = event.target instanceof Element && event.target.closest("#beside :is(a, button)");
    if (!beside) return;
    const to = beside.dataset.list;
    if (to) {
      if (to === "open") localStorage.removeItem(LIST); else localStorage.setItem(LIST, to);
      list(to);
      find(`#beside [data-list]:not([data-list="${to}"])`).focus();
    } else if (find("#stop, #passing")) {
      // As with the search: what would end with the page stays on it.
      event.preventDefault();
      window.open(beside.href);
    }
  });

  // ------------------------------------------------------------------ beneath each answer

  let laid = { answers: [] };
  let sending = null; // What was in the message box when it was sent, until the server has taken it.
  let asked = null; // The question that is being answered.
  let pending = false; // Whether an answer was asked for of which the server has said nothing yet.
  let anew = null; // The button for a new chat that was pressed before the answer had come to its end.
  let after = null; // The last exchange that was stored when that was sent.
  let aside = ""; // What was in the box before an earlier message was put there to be edited.
  let edited = null; // The exchange whose question that is.
  let draft = JSON.parse(sessionStorage.getItem(DRAFT)); // What this tab has kept, until it is in the box again.

  const button = (label, title, act) => {
    const made = make("button", { type: "button", className: "ns-tool", title, innerText: label });
    made.setAttribute("aria-label", title);
    made.addEventListener("click", act);
    return made;
  };

  const menu = (at, tool) => {
    const ways = [["same", say("Answer again", "重新回答")], ["forget", say("Without memory", "不用记忆")]];
    if (laid.previous) ways.push(["previous", say(`With yesterday's version (${laid.previous})`, `用上一个版本（${laid.previous}）`)]);
    if (laid.base) ways.push(["base", say("With the base model", "用基础模型")]);
    const items = ways.map(([how, label]) => button(label, label, () => {
      box.remove();
      sending = null;
      asks();
      page.onAct("submit", { act: "again", at, how });
    }));
    const box = make("div", { className: "ns-menu" }, ...items);
    for (const item of items) { item.setAttribute("role", "menuitem"); item.tabIndex = -1; }
    box.setAttribute("role", "menu");
    box.addEventListener("keydown", (event) => {
      const at = items.indexOf(document.activeElement), last = items.length - 1;
      const to = { ArrowDown: at < last ? at + 1 : 0, ArrowUp: at > 0 ? at - 1 : last, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      items[to].focus();
    });
    const close = (event) => {
      if (event.type === "keydown" && !["Escape", "Tab"].includes(event.key)) return;
      const to = event.type === "focusout" ? event.relatedTarget || box : event.target;
      if (event.type !== "keydown" && (box.contains(to) || to === tool)) return;
      box.removeEventListener("focusout", close);
      box.remove();
      tool.setAttribute("aria-expanded", "false");
      document.removeEventListener("click", close, true);
      document.removeEventListener("keydown", close, true);
      // With Tab one goes on from the button.
      if (event.type === "keydown") tool.focus();
      if (event.key === "Escape") event.stopPropagation();
    };
    document.addEventListener("click", close, true);
    document.addEventListener("keydown", close, true);
    box.addEventListener("focusout", close);
    return box;
  };

  const tools = (at, answer) => {
    const bar = make("div", { className: "ns-tools" });
    const from = answer.version === "base" ? say("base", "基础模型") : answer.version;
    const act = (name, more) => () => {
      if (name === "edit") {
        if (!find("#editing")) aside = typed();
        edited = answer.id;
      }
      page.onAct("select", { act: name, at, ...more });
    };
    bar.append(button(from, say(`Where this answer comes from: ${from}`, `这个回答从何而来：${from}`), act("where")));
    const again = button("↻", say("Answer again …", "重新回答……"), () => {
      const open = bar.querySelector(".ns-menu");
      again.setAttribute("aria-expanded", open ? "false" : "true");
      if (open) return open.remove();
      const box = menu(at, again);
      bar.append(box);
      box.querySelector("button").focus();
    });
    again.setAttribute("aria-haspopup", "menu");
    const edit = button("✎", say("Edit the question, and go on from there", "编辑问题并从那里继续"), act("edit"));
    again.classList.add("ns-turns");
    edit.classList.add("ns-edits");
    // The style shows it beside a thumb that was given.
    const rated = button("❝", say("What you said of this answer", "你对这个回答的评价"), () => page.onAct("edit", { act: "rated", at }));
    rated.classList.add("ns-rated");
    bar.append(again, rated, edit);
    if (answer.fork) {
      const [place, of] = answer.fork;
      const back = button("‹", say("The branch before", "上一个分支"), act("branch", { step: -1 }));
      const on = button("›", say("The next branch", "下一个分支"), act("branch", { step: 1 }));
      back.disabled = place === 1;
      on.disabled = place === of;
      back.classList.add("ns-turns");
      on.classList.add("ns-turns");
      const told = make("span", { className: "ns-fork", innerText: `${place} / ${of}` });
      told.setAttribute("aria-label", say(`Branch ${place} of ${of}`, `第 ${place} 个分支，共 ${of} 个`));
      told.setAttribute("role", "img");
      bar.append(back, told, on);
    }
    return bar;
  };

  const decorate = () => {
    const rows = [...document.querySelectorAll("#conversation .message-buttons-left")];
    rows.forEach((row, at) => {
      const answer = laid.answers[at];
      const wanted = answer && answer.stored ? JSON.stringify([at, answer, laid.previous, laid.base]) : "";
      const there = row.querySelector(":scope > .ns-tools");
      if (there && there.dataset.is === wanted) return;
      if (there) there.remove();
      if (!wanted) return;
      const bar = tools(at, answer);
      bar.dataset.is = wanted;
      row.append(bar);
    });
    for (const log of document.querySelectorAll("#conversation [role=log]")) {
      if (zh) log.setAttribute("aria-label", "对话");
      // One can scroll with the keys, and screen readers hear the end of an answer rather than every word of it.
      if (!log.hasAttribute("tabindex")) { log.setAttribute("tabindex", "0"); watch(log); }
      const busy = find("#stop") ? "true" : "false";
      if (log.getAttribute("aria-busy") !== busy) log.setAttribute("aria-busy", busy);
    }
    // What is wider than its place is scrolled with the keys, too.
    if (!find("#stop")) for (const one of document.querySelectorAll("#conversation :is(table, pre, .katex-display)"))
      if (one.tabIndex < 0 && one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    hold();
  };

  // Who is at the end stays there, and is there with what was just asked, until they scroll up; on a page that is opened at
  // one of its exchanges that one is in sight. Gradio would go to the end a while after who has left it, too.
  let held = null; // "end", or an exchange.
  let put = 0; // How far down that was, when it was put there last.
  const hold = () => {
    const log = held && find("#conversation [role=log]");
    if (!log) return;
    const one = document.querySelectorAll("#conversation [data-testid=user]")[page.placeOf(held)];
    if (held === "end") log.scrollTop = log.scrollHeight;
    else if (one) log.scrollTop += one.getBoundingClientRect().top - log.getBoundingClientRect().top - 12;
    put = log.scrollTop;
  };
  const watch = (log) => {
    const letGo = () => { if (held !== "end") held = null; };
    for (const act of ["wheel", "touchmove", "pointerdown", "keydown"]) log.addEventListener(act, letGo, { passive: true });
    log.addEventListener("scroll", () => {
      if (log.scrollTop + log.clientHeight > log.scrollHeight - 4) held = "end";
      else if (held === "end" && log.scrollTop < put - 2) held = null;
    });
    new ResizeObserver(hold).observe(log);
  };

  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; decorate(); });
  };
  whenThere("#conversation", (node) => {
    new MutationObserver(soon).observe(node, { childList: true, subtree: true });
    soon();
  });

  // The form takes half of the window: what it is about stays in sight above it. Who opens it is in it, and is back at
  // the thumb when it is gone.
  const GIVEN = "button[title$='iked'], button[title='已赞'], button[title='已踩']";
  const rowOf = (exchange) => document.querySelectorAll("#conversation .message-buttons-left")[page.placeOf(exchange)];
  let about = null;
  whenThere("#below", (node) => new MutationObserver(() => {
    const now = find("#feedback-form #feedback-about [data-about]")?.dataset.about || null;
    if (now === about) return;
    const row = rowOf(now || about);
    about = now;
    if (now && row) setTimeout(() => row.scrollIntoView({ block: "end" }), 50);
    if (now) whenThere("#feedback-form :is(input, textarea)", (field) => field.focus({ preventScroll: true }));
    else if (row && [document.body, null].includes(document.activeElement)) (row.querySelector(GIVEN) || row.querySelector("button"))?.focus();
  }).observe(node, { childList: true, subtree: true }));

  // So does a memory that one looks at: it opens above the list, and when it is closed one is back at its row.
  let looked = null;
  whenThere("#memory-page", (node) => new MutationObserver(() => {
    const one = find("#memory-one"), now = one?.querySelector("[data-about]")?.dataset.about || null;
    if (now === looked) return;
    const back = !now && [...document.querySelectorAll("#memory-found [data-act=look]")].find((button) => button.dataset.id === looked);
    looked = now;
    if (back) back.focus();
    if (!now) return;
    one.tabIndex = -1;
    one.focus({ preventScroll: true });
    one.scrollIntoView({ block: "start" });
  }).observe(node, { childList: true, subtree: true }));

  // ------------------------------------------------------------------ boards: buttons that tell, and ask first

  const refusals = new Map(); // What a dialog has sent, until the server has said what became of it → asks once more.

  /* Opens the dialog, about `data`, with `given` in its fields, and `why` that was refused before. */
  const ask = (box, data, tell, given = data, why = "") => {
    const open = find("dialog[open]");
    if (open) { open.addEventListener("close", () => ask(box, data, tell, given, why), { once: true }); return; }
    if (zh) for (const one of document.querySelectorAll("option[data-zh]")) one.textContent = one.dataset.zh;
    page.opening({ ...data, ask: box.id });
    const form = box.querySelector("form"), refused = box.querySelector(".refused");
    form.reset();
    for (const place of box.querySelectorAll("[data-fill]")) place.innerText = data[place.dataset.fill] || "";
    const fields = [...form.elements].filter((field) => field.name);
    for (const field of fields) if (field.name in given) field.value = given[field.name];
    refused.innerText = why;
    refused.hidden = !why;
    box.querySelector("[data-close]").onclick = () => box.close("");
    box.onclose = () => {
      const yes = box.returnValue === "yes";
      box.returnValue = "";
      if (!yes) return;
      const values = Object.fromEntries(new FormData(form));
      if (!fields.length) return tell(data);
      // Only what was typed can be lost: it stays until the server has taken it, and is asked for anew where it has not.
      const typed = crypto.getRandomValues(new Uint32Array(2)).join("-");
      page.sent(box, typed);
      refusals.set(typed, (because) => ask(box, data, tell, values, because));
      tell({ ...data, ...values, typed });
    };
    box.showModal();
  };

  const press = (pressed, tell) => {
    const { ask: dialog, ...data } = pressed.dataset;
    const box = dialog && document.getElementById(dialog);
    if (box) ask(box, data, tell); else tell(data);
  };

  // Buttons of Gradio's bear nothing: the dialog names the one that it stands before, and where on the page lies what it
  // is about. Where that is nothing yet, the server says so.
  let sure = false;
  document.addEventListener("click", (event) => {
    const button = !sure && event.target instanceof Element && event.target.closest("button[id]");
    const box = button && find(`dialog[data-before="${button.id}"]`);
    const about = box && find(box.dataset.from);
    const data = about instanceof HTMLInputElement ? { name: about.value } : { ...about?.dataset };
    if (!Object.values(data).some(Boolean)) return;
    event.stopImmediatePropagation();
    ask(box, data, () => {
      const again = document.getElementById(button.id);
      sure = true;
      again?.click();
      sure = false;
    });
  }, true);

  const page = window.nightschool = {
    say, find, make, whenThere, press,
    onAct: () => {},
    /* What was sent under these names was taken, or was refused, and why. */
    became: ({ of, refused }) => {
      for (const name of of) {
        const again = refusals.get(name);
        refusals.delete(name);
        if (!refused) page.done(name); else if (again) again(refused);
      }
    },
    /* Where on the page the answer of this exchange is, or -1. */
    placeOf: (exchange) => laid.answers.findIndex((answer) => answer.id === exchange),
    isLaid: () => "asked" in laid,
    conversation: () => laid.conversation,
    lay: (value) => {
      const before = laid;
      try { laid = JSON.parse(value); } catch { laid = { answers: [] }; }
      // All is as it was.
      if (laid.refused) {
        // For another answer that is under way: that one may be what is pending.
        pending &&= laid.another;
        laid = before;
        beginAnew();
        return;
      }
      // The page's first layout, come after what was asked before it.
      if (laid.opening && before.answering) { laid = before; return; }
      if ("asked" in laid) settle(before);
      beginAnew();
      soon();
    },
  };

  // ------------------------------------------------------------------ nothing that was typed is lost

  // The box is emptied of what was sent when the server has taken it, so that what is typed meanwhile stays, and filled
  // again where there was no answer. A draft outlives a reload, in this tab: what is in the box, and what is being
  // answered, until it is. Of a temporary chat nothing is kept, not even here.
  const typed = () => find("#message textarea")?.value || "";
  const write = (text) => {
    const box = find("#message textarea");
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const together = (...texts) => texts.filter(Boolean).join("\n");
  let me = null; // Whose page this is, once that is known.
  let arrived;
  const known = new Promise((resolve) => { arrived = resolve; });
  const keep = () => {
    if (draft) return;
    const kept = { who: me, asked, sending, after, typed: typed(), aside, edited: find("#editing") ? edited : null };
    if ((kept.asked || kept.typed || aside) && !find("#passing")) sessionStorage.setItem(DRAFT, JSON.stringify(kept));
    else sessionStorage.removeItem(DRAFT);
  };
  const giveBack = () => {
    const kept = draft;
    draft = null;
    // What somebody else typed in this tab is not theirs to see.
    if (!kept || (kept.who && kept.who !== me)) return keep();
    // What was being answered may have been stored with what was said by then; what was sent, too, though the page was
    // left before it knew that it was taken.
    const isStored = (text) => Boolean(text) && first(text) === laid.last && lastStored() !== kept.after;
    const sent = isStored(kept.sending) && kept.typed.startsWith(kept.sending);
    if (sent) kept.typed = kept.typed.slice(kept.sending.length);
    const before = typed();
    const at = kept.edited && !sent ? page.placeOf(kept.edited) : -1;
    if (at < 0) return write(together(isStored(kept.asked) ? "" : kept.asked, kept.aside, kept.typed, before));
    aside = together(kept.aside, before);
    edited = kept.edited;
    page.onAct("select", { act: "edit", at });
    whenThere("#editing", () => page.put(find("#message textarea"), kept.typed));
  };
  // As the server tells the last question.
  const first = (text) => [...text.trim()].slice(0, 200).join("");
  /* Of what is on the page: the conversation, and its branch by the last exchange that is stored. */
  const address = () => {
    const at = lastStored();
    const branch = at ? `&at=${encodeURIComponent(at)}` : "";
    return laid.conversation ? `./?c=${encodeURIComponent(laid.conversation)}${branch}` : "./?new";
  };
  const lastStored = () => laid.answers.filter((answer) => answer.stored).at(-1)?.id ?? null;
  // While one answer comes Gradio sends no other question.
  const asks = () => { pending ||= !laid.answering; };
  const send = () => {
    asks();
    sending = typed();
    after = lastStored();
    keep();
  };
  const settle = (before) => {
    // Not before now: Gradio listens to the box once it has opened the page.
    if (draft) known.then(giveBack);
    // Of a question that is asked before the page is laid out nothing was laid before.
    const taken = laid.asked === (before.asked ?? 0) + 1;
    if (taken || laid.failed) pending = false;
    if (taken) {
      asked = null;
      // The last question asked again, while another is on its way: that one has not been taken.
      const again = sending !== null && laid.last === before.last && first(sending) !== laid.last;
      if (!again && sending !== null && typed().startsWith(sending)) {
        asked = sending;
        write(together(aside, typed().slice(sending.length)));
        aside = "";
        edited = null;
      }
      if (!again) sending = null;
    }
    const at = laid.opening && new URLSearchParams(location.search).get("at");
    if (at && page.placeOf(at) >= 0 && at !== lastStored()) held = at;
    else if (taken || laid.opening) held = "end";
    else if (!before.answering) held = null;
    // What is on the page is what a reload shows, whatever was begun in another tab since.
    if (!laid.opening) history.replaceState(null, "", address());
    if (laid.failed && asked) {
      const back = asked;
      asked = null;
      write(together(back, typed()));
    }
    if ((taken || before.answering) && !laid.answering) {
      asked = null;
      keep();
    }
  };
  // What the server says of an answer would lay its conversation out over a new chat that was begun meanwhile. So a new
  // chat ends the answer first, as leaving the page does: what was said by then is kept where it was asked.
  const beginAnew = () => {
    if (!anew || pending || laid.answering) return waits(anew);
    const button = find(anew);
    waits(null);
    button?.click();
  };
  // Until then the button is busy, and beneath the conversation stands what is waited for.
  const ending = make("p", { id: "ending" });
  ending.setAttribute("role", "status");
  whenThere("#tools", (node) => node.append(ending));
  const waits = (button) => {
    anew = button;
    for (const one of document.querySelectorAll("#tools [aria-busy]")) one.removeAttribute("aria-busy");
    if (anew) find(anew)?.setAttribute("aria-busy", "true");
    const told = !anew ? "" : pending
      ? say("Waiting for the server, to end the answer first. Press again to begin at once.", "正在等待服务器先结束回答。再按一次立即开始。")
      : say("Ending the answer first…", "正在先结束回答……");
    if (ending.textContent !== told) ending.textContent = told;
  };
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("#new-chat, #temporary-chat");
    if (!button || !(pending || laid.answering)) return;
    // Pressed again while the server says nothing: what was asked may never have reached it.
    if (anew && pending && event.detail < 2) { pending = false; return waits(null); }
    event.stopImmediatePropagation();
    waits(`#${button.id}`);
    find("#stop")?.click();
  }, true);
  document.addEventListener("input", (event) => { if (event.target.matches("#message textarea")) keep(); });
  document.addEventListener("keydown", (event) => {
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (sends && event.target.matches("#message textarea")) send();
  }, true);
  document.addEventListener("click", (event) => {
    if (event.target.closest("#send")) send();
    if (event.target.closest("#regenerate")) { sending = null; asks(); }
    if (event.target.closest("#edit-cancel") || (find("#editing") && event.target.closest("#new-chat, #temporary-chat"))) {
      edited = null;
      const back = aside;
      aside = "";
      write(back);
    }
    if (event.target.closest("#new-chat, #temporary-chat")) history.replaceState(null, "", "./?new");
    // What was typed before it belongs to it now.
    if (event.target.closest("#temporary-chat")) whenThere("#passing", keep);
  }, true);
  whenThere("#composer", (node) => {
    let busy = false;
    new MutationObserver(() => {
      const now = find("#stop") !== null;
      if (now !== busy) soon();
      if (now && !busy && anew) find("#stop").click();
      busy = now;
    }).observe(node, { childList: true, subtree: true });
  });

  // ------------------------------------------------------------------ who is here, and is anybody there?

  let start = null;
  let unlocked = false; // Whether there were no accounts when the server was asked last.
  /* This page again, with the conversation that is on it. */
  const here = () => {
    const chat = find("#conversation") && laid.conversation;
    return chat ? address() : `.${location.pathname}${location.search}`;
  };
  const gone = (text, link, href) => {
    const box = find("#gone");
    if (!box || box.dataset.is === text) return;
    box.dataset.is = text;
    box.hidden = !text;
    box.replaceChildren(text || "");
    if (link) box.append(" ", make("a", { href, innerText: link }));
  };
  const greet = (who) => {
    const box = find("#who");
    if (!box || box.dataset.is === who.id + who.role) return;
    box.dataset.is = who.id + who.role;
    document.documentElement.dataset.role = who.role;
    if (!who.accounts) return;
    box.closest("header").classList.toggle("full", who.role === "admin");
    const out = make("form", { method: "post", action: "./logout" },
      make("button", { innerText: say("Log out", "退出") }));
    const name = make("summary", { title: who.name },
      make("span", { className: "whole", innerText: who.name }), make("span", { className: "short", innerText: [...who.name][0] }));
    name.setAttribute("aria-label", say(`${who.name}: your account`, `${who.name}：你的账户`));
    const menu = make("details", { className: "ns-account" }, name, make("div", {}, make("b", { innerText: who.name }),
      make("a", { href: "./password", innerText: say("Change your password", "修改密码") }), out));
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
    menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false; });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation();
      menu.open = false;
      name.focus();
    });
    box.replaceChildren(menu);
  };
  const look = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch("./whoami", { headers: { accept: "application/json" }, signal: AbortSignal.timeout(5000) });
      if (response.status === 401) {
        page.leaving();
        // The first account locks out the page that made it before that page hears that it was made.
        if (unlocked) for (const name of refusals.keys()) page.done(name);
        gone(find("#passing")
          ? say("Your session has ended, and nothing of this temporary chat is kept. Take along what you want to keep.",
            "登录已过期，临时对话不会保留。请先保存需要的内容。")
          : say("Your session has ended. What you have typed is kept in this tab.", "登录已过期。已输入的内容保留在此标签页。"),
          say("Log in again", "重新登录"), `./login?next=${encodeURIComponent(here().slice(1))}`);
      } else if (response.ok) {
        const who = await response.json();
        // A server that was started anew knows nothing of this page; what was typed comes back with it. Nothing of a
        // temporary chat would, so that one stays to be read.
        if (start && start !== who.start) {
          if (!find("#passing")) { page.leaving(); location.replace(here()); return; }
          gone(say("The server was started anew, and knows nothing of this temporary chat any more. Take along what you want to keep.",
            "服务器已重新启动，已不再知道这个临时对话。请先保存需要的内容。"), say("Begin anew", "重新开始"), "./?new");
          return;
        }
        // Another account logged in beside this tab: what is on it is not theirs to see.
        if (me && me !== who.id) { page.leaving(); location.replace(find("#conversation") ? "./" : location.pathname); return; }
        start = who.start;
        unlocked = !who.accounts;
        gone("");
        me = who.id;
        arrived();
        page.arrive(me);
        greet(who);
      }
    } catch {
      gone(say("The server does not answer. What you have typed is kept; this page comes back by itself.",
        "服务器没有响应。已输入的内容会保留；恢复后页面会自动回来。"));
    }
  };
  whenThere("#who", () => { look(); setInterval(look, 3000); document.addEventListener("visibilitychange", look); });
})();
