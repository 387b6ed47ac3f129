/* The page of a study. Answers go into the browser's storage first, and leave it when they were
   acknowledged: neither a broken connection nor a reload loses one. */
"use strict";

(() => {
  const AHEAD = 8; // questions whose pictures are loaded before they are shown
  const MOST_AT_ONCE = 50; // answers in a request
  const MOST_WAIT = 15000; // milliseconds between two tries
  const PAUSE = 300; // milliseconds in which a second press does not answer the next question
  const WORDS = {
    caption: ["Which picture fits this text better?", "<kbd>1</kbd> <kbd>2</kbd> or <kbd>←</kbd> <kbd>→</kbd> choose, <kbd>Enter</kbd> goes on"],
    objects: ["Which of these can you recognise in the picture? Tick all that you see.", "<kbd>1</kbd> to <kbd>9</kbd> tick, or arrows and <kbd>Space</kbd>; <kbd>Enter</kbd> goes on"],
    relations: ["Which of these are so in the picture? Tick all that you see.", "<kbd>1</kbd> to <kbd>9</kbd> tick, or arrows and <kbd>Space</kbd>; <kbd>Enter</kbd> goes on"],
  };

  const find = (id) => document.getElementById(id);
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  /* What the browser keeps of this study; where it keeps nothing, what this page keeps. */
  const store = (() => {
    const prefix = `sg2im-study:${document.body.dataset.study}:`;
    let kept;
    try {
      kept = window.localStorage;
      kept.setItem(prefix, "");
      kept.removeItem(prefix);
    } catch {
      const items = new Map();
      kept = {
        getItem: (name) => items.get(name) ?? null,
        setItem: (name, value) => items.set(name, value),
        removeItem: (name) => items.delete(name),
        names: () => [...items.keys()],
      };
    }
    return {
      get: (name) => kept.getItem(prefix + name),
      set: (name, value) => {
        try {
          kept.setItem(prefix + name, value);
        } catch { /* full: the answer is still in this page */ }
      },
      remove: (name) => kept.removeItem(prefix + name),
      names: () => (kept.names?.() ?? Object.keys(kept))
        .filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
      named: (full) => (full?.startsWith(prefix) ? full.slice(prefix.length) : ""),
    };
  })();

  /* A refusal that trying again does not change. */
  class Refusal extends Error {}

  /* The server: an answer is kept when it says so. */
  const server = {
    async ask(address, content) {
      const response = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(content),
        keepalive: true, // also when the page is left just now
        signal: AbortSignal.timeout?.(20000),
      });
      const busy = response.status >= 500 || [408, 429].includes(response.status);
      if (busy) {
        const after = Number(response.headers.get("Retry-After")) || 0;
        throw Object.assign(new Error("busy"), { after: 1000 * after });
      }
      const told = await response.json();
      if (!response.ok) throw new Refusal(told.error);
      return told;
    },
    begin: (participant) => server.ask("api/begin", { participant }),
    send: (participant, answers) => server.ask("api/answers", { participant, answers }),
  };

  /* A page that stands alone: everything is in it, and answers are handed in at the end. */
  const alone = (data) => {
    const asked = new URLSearchParams(location.search);
    let number = Number(asked.get("number") ?? store.get("number") ?? NaN);
    if (!Number.isInteger(number) || number < 0 || number >= data.assignments.length) {
      number = Math.floor(Math.random() * data.assignments.length);
    }
    store.set("number", number);
    const given = JSON.parse(store.get(`given:${number}`) ?? "{}");
    const questions = data.assignments[number].map(([place, order]) => {
      const question = data.questions[place];
      const keyed = question.pictures.map((picture, key) => ({ key: `${key}`, address: data.pictures[picture] }));
      const caption = question.kind === "caption";
      return {
        ...question,
        pictures: caption ? order.map((key) => keyed[key]) : keyed,
        choices: caption ? [] : order.map((key) => question.choices[key]),
      };
    });
    const state = (participant) => {
      const answers = questions.filter(({ id }) => id in given).map(({ id }) => given[id]);
      const completed = answers.length === questions.length;
      const result = { participant, number, completed, answers };
      return { questions, answered: Object.keys(given), end: completed ? { ...data.closing, result } : null };
    };
    return {
      begin: async (participant) => state(participant),
      async send(participant, answers) {
        for (const answer of answers) given[answer.question] ??= answer;
        store.set(`given:${number}`, JSON.stringify(given));
        return state(participant);
      },
    };
  };

  const embedded = find("data");
  const source = embedded ? alone(JSON.parse(embedded.textContent)) : server;
  const waiting = new Map(); // answers by question, until they are acknowledged
  const answered = new Set();
  let code = store.get("code");
  let questions = [];
  let current = null;
  let shownAt = 0; // when all of the current question could be seen; 0 before
  let end = null;
  let sending = false;
  let failing = false; // the last try got no answer
  let wake = () => {}; // ends the pause before the next try

  /* Views ----------------------------------------------------------------------------------- */

  const show = (name) => {
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
    window.scrollTo(0, 0);
    find(name).querySelector("h1").focus({ preventScroll: true });
  };

  const stop = (sentence) => {
    find("reason").textContent = sentence;
    show("stopped");
  };

  const tell = (failed) => {
    failing = failed;
    const line = find("connection");
    const count = waiting.size;
    const kept = count === 1 ? "1 answer is" : `${count} answers are`;
    line.className = failed ? "waiting" : count || !answered.size || embedded ? "" : "saved";
    const sentence = failed
      ? `No connection. ${count ? `${kept} kept in this browser and sent` : "The page goes on"} as soon as it is back.`
      : line.className ? "All answers saved" : "";
    if (line.textContent !== sentence) line.textContent = sentence; // else it would be read again
  };

  const showProgress = () => {
    const done = Math.min(answered.size, questions.length);
    find("progress").max = questions.length || 1;
    find("progress").value = done;
    find("count").textContent = current ? `Question ${done + 1} of ${questions.length}` : `${done} of ${questions.length}`;
    for (const id of ["progress", "count"]) find(id).hidden = false;
  };

  const showEnd = () => {
    show("end");
    find("completion").hidden = !end.code;
    find("code").textContent = end.code ?? "";
    find("leave").hidden = !end.address;
    if (end.address) find("leave").firstElementChild.href = end.address;
    if (embedded) handIn(end.result);
  };

  /* Questions ------------------------------------------------------------------------------- */

  const loaded = new Map(); // promises of pictures, by their addresses

  const load = (address) => {
    if (!loaded.has(address)) {
      loaded.set(address, (async () => {
        for (let wait = 1000; ; wait = Math.min(2 * wait, MOST_WAIT)) {
          const image = new Image();
          image.src = address;
          try {
            await image.decode();
            return image;
          } catch {
            await Promise.race([pause(wait), new Promise((resolve) => addEventListener("online", resolve, { once: true }))]);
          }
        }
      })());
    }
    return loaded.get(address);
  };

  const view = (picture, name, pictures) => {
    const place = make("span", { className: "view" }, "Loading …");
    pictures.push(load(picture.address).then((image) => {
      const own = image.cloneNode();
      own.alt = name;
      own.draggable = false;
      place.replaceChildren(own);
    }));
    return place;
  };

  const option = (kind, key, name, number, ...above) => {
    const input = make("input", { type: kind, name: "choice", value: key });
    const line = make("span", { className: "name" }, make("span", { className: "box" }), make("span", {}, name));
    if (number <= 9) {
      const hint = make("kbd", {}, `${number}`);
      hint.setAttribute("aria-hidden", "true");
      line.append(hint);
    }
    return make("label", { className: "option" }, input, ...above, line);
  };

  const inputs = () => [...find("answer").querySelectorAll("input")];
  const chosen = () => inputs().filter((input) => input.checked).map((input) => input.value);
  const isReady = () => shownAt > 0 && performance.now() - shownAt >= PAUSE && (current.kind !== "caption" || chosen().length === 1);

  const showNext = () => {
    const before = current;
    const left = questions.filter(({ id }) => !answered.has(id));
    current = left[0] ?? null;
    showProgress();
    if (!current) {
      if (end && !waiting.size) showEnd();
      else show("saving");
      return;
    }
    if (current === before) return;
    const { kind, text, pictures, choices } = current;
    const pending = [];
    find("question").className = kind === "caption" ? kind : `list ${kind}`;
    find("ask").textContent = WORDS[kind][0];
    find("keys").innerHTML = WORDS[kind][1]; // our own words
    find("text").textContent = text;
    find("text").hidden = !text;
    find("text").className = text.length > 140 ? "long" : "";
    find("picture").hidden = kind === "caption";
    find("picture").replaceChildren();
    if (kind === "caption") {
      find("answer").replaceChildren(...pictures.map((picture, k) => option(
        "radio", picture.key, `Picture ${k + 1}`, k + 1, view(picture, "", pending),
      )));
    } else {
      find("picture").replaceChildren(view(pictures[0], "The picture that is asked about", pending));
      find("answer").replaceChildren(...choices.map((choice, k) => option("checkbox", choice.key, choice.text, k + 1)));
    }
    shownAt = 0;
    const asked = current;
    Promise.all(pending).then(() => {
      if (current !== asked) return;
      shownAt = performance.now();
      setTimeout(() => { if (current === asked) showReady(); }, PAUSE + 10);
    });
    for (const other of left.slice(1, AHEAD + 1)) for (const picture of other.pictures) load(picture.address);
    showReady();
    show("question");
  };

  const showReady = () => {
    const next = find("next");
    next.setAttribute("aria-disabled", String(!isReady()));
    next.textContent = current.kind === "caption" || chosen().length ? "Next" : "None of these";
  };

  const answer = () => {
    if (!current || !isReady()) return;
    const { id } = current;
    keep({ question: id, choice: chosen(), milliseconds: Math.round(performance.now() - shownAt) });
    showNext();
    flush();
  };

  const keep = (entry) => {
    waiting.set(entry.question, entry);
    answered.add(entry.question);
    store.set(`answer:${entry.question}`, JSON.stringify(entry));
    if (failing) tell(true); // one more waits
  };

  /* Sending --------------------------------------------------------------------------------- */

  /* Asks until there is an answer; while there is none, the foot of the page says so. */
  const insist = async (ask) => {
    for (let wait = 1000; ; wait = Math.min(2 * wait, MOST_WAIT)) {
      try {
        const told = await ask();
        tell(false);
        return told;
      } catch (error) {
        if (error instanceof Refusal) throw error;
        tell(true);
        const soon = Math.max(wait * (0.75 + Math.random() / 2), error.after ?? 0);
        await Promise.race([pause(soon), new Promise((resolve) => { wake = resolve; })]);
      }
    }
  };

  const flush = async () => {
    if (sending) return;
    sending = true;
    try {
      while (waiting.size || (questions.length && !current && !end)) {
        if (!waiting.size) await pause(1000); // another window sends the last ones
        const sent = [...waiting.values()].slice(0, MOST_AT_ONCE);
        const told = await insist(() => source.send(code, sent));
        for (const { question } of sent) {
          waiting.delete(question);
          store.remove(`answer:${question}`);
        }
        end = told.end ?? end;
      }
      tell(false);
      if (!current && end) showEnd();
    } catch (error) {
      stop(error.message);
    } finally {
      sending = false;
    }
  };

  const begin = async () => {
    find("begin").setAttribute("aria-disabled", "true");
    code ??= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    try {
      const told = await insist(() => source.begin(code));
      store.set("code", code); // whoever came too late has none
      questions = told.questions;
      end = told.end;
      for (const id of told.answered) answered.add(id);
      const asked = new Set(questions.map(({ id }) => id));
      for (const name of store.names().filter((name) => name.startsWith("answer:"))) {
        const entry = JSON.parse(store.get(name));
        if (asked.has(entry.question) && !answered.has(entry.question)) keep(entry);
        else store.remove(name);
      }
      showNext();
      flush();
    } catch (error) {
      stop(error.message);
    }
  };

  /* The end of a page that stands alone ----------------------------------------------------- */

  const handIn = (result) => {
    const form = find("hand-in");
    const text = JSON.stringify(result);
    find("answers").value = text;
    const asked = new URLSearchParams(location.search);
    const platform = asked.get("turkSubmitTo") ?? "";
    if (/^https:\/\/([a-z0-9-]+\.)*mturk\.com\/?$/.test(platform) && asked.get("assignmentId")) {
      form.action = `${platform.replace(/\/$/, "")}/mturk/externalSubmit`;
      form.elements.assignmentId.value = asked.get("assignmentId");
      form.querySelector("[type=submit]").hidden = false;
      find("done").textContent = "Hand your answers in to end.";
    } else if (!end.code && !end.address) {
      find("done").textContent = "Copy your answers or save them as a file, and hand them in where you were asked to.";
    }
    if (window.parent !== window) window.parent.postMessage({ type: "sg2im-study", result }, "*");
    find("download").onclick = () => {
      const rows = result.answers.map((a) => [result.participant, result.number, a.question,
        `"${JSON.stringify(a.choice).replaceAll('"', '""')}"`, a.milliseconds, result.completed].join(","));
      const table = ["participant,number,question,choice,milliseconds,completed", ...rows, ""].join("\r\n");
      const link = make("a", { href: URL.createObjectURL(new Blob([table], { type: "text/csv" })), download: `answers-${result.number}.csv` });
      link.click();
    };
  };

  /* What people do -------------------------------------------------------------------------- */

  const choose = (input) => {
    input.focus();
    input.checked = input.type === "radio" || !input.checked;
    showReady();
  };

  const press = (event) => {
    if (find("question").hidden || !current || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = inputs();
    const { key, target } = event;
    const isButton = target.closest?.("button, a");
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
    const isCaption = current.kind === "caption";
    if (/^[1-9]$/.test(key) && all[key - 1]) {
      if (!event.repeat) choose(all[key - 1]);
    } else if (step && isCaption) {
      choose(all[step < 0 ? 0 : 1]);
    } else if (step) {
      const place = all.indexOf(document.activeElement);
      all[place < 0 ? 0 : (place + step + all.length) % all.length].focus();
    } else if (key === "Enter" && !isButton) {
      if (!event.repeat) answer();
    } else if (key === " " && isCaption && !isButton && chosen().length && (target.type !== "radio" || target.checked)) {
      if (!event.repeat) answer();
    } else {
      return; // the browser's own
    }
    event.preventDefault();
  };

  document.addEventListener("keydown", press);
  find("question").addEventListener("change", showReady);
  find("question").addEventListener("submit", (event) => {
    event.preventDefault();
    answer();
  });
  find("begin").addEventListener("click", () => {
    if (find("begin").getAttribute("aria-disabled") !== "true") begin();
  });
  find("again").addEventListener("click", () => location.reload());
  find("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(end.code);
      find("copy").textContent = "Copied";
    } catch { // only pages by HTTPS may
      getSelection().selectAllChildren(find("code"));
    }
  });
  addEventListener("online", () => wake());
  document.addEventListener("visibilitychange", () => wake());
  addEventListener("storage", ({ key, newValue }) => { // answered in another window
    const name = store.named(key);
    if (!name.startsWith("answer:") || !newValue || answered.has(name.slice(7))) return;
    answered.add(name.slice(7));
    if (questions.length) showNext();
  });
  addEventListener("beforeunload", (event) => {
    if (waiting.size && !current && questions.length) event.preventDefault();
  });

  if (code) begin();
  else show("welcome");
})();
