/** The page: what is asked, what is shown, and the address that keeps both. */

import { Answers, standsOut } from "./answers.js";
import * as api from "./api.js";
import { byId, copyText, el, icon, keepFocus } from "./dom.js";
import { Filters, openBelow } from "./filters.js";
import { Grid } from "./grid.js";
import * as pictures from "./pictures.js";
import {
  NOTHING, addressParameters, changed, filterParameters, finished, fromAddress, isAsked, isFiltered, isWords, needsEyes,
  unfiltered,
} from "./question.js";
import { cropped } from "./region.js";
import { sections } from "./sections.js";
import { Selection } from "./selection.js";
import { follow } from "./server.js";
import { Timeline } from "./timeline.js";
import { Viewer } from "./viewer.js";
import { Waiting } from "./waiting.js";
import { Ways } from "./ways.js";
import { count, noneName, photoName, unquoted } from "./words.js";

const PAUSE = 140; // milliseconds without a key before what was typed is asked
const COMPLAINT = 1500; // milliseconds until it is said that what was typed makes no sense
const KEPT = 30; // questions whose answers going back shows at once

const words = byId("words");

let question = NOTHING;
let answers = null; // those that are shown
let asked = null; // those that are waited for, or shown
let months = []; // of the whole library
let among = null; // the photos that are looked through, if not the answers
let pause = 0; // the timer that waits for the next key
let complaint = 0; // the timer until it is said what is wrong with what was typed
let typing = false; // whether the last question came by typing: all of that is one step to go back
const kept = new Map(); // the latest answers, by their question's address

const selection = new Selection({
  changed: () => grid.mark(),
  copy: (hits) => copyPaths(hits),
  open: (hits) => openPhoto(hits[0], hits),
});
const grid = new Grid(byId("photos"), {
  open: (hit) => openPhoto(hit),
  like: (hit) => ask({ ...alone(), like: hit.id }),
  address: (hit) => address(question, hit.id),
  near: () => more(),
  leave: () => words.focus(),
}, selection);
const viewer = new Viewer({
  close: () => closePhoto(),
  step: (by) => step(by),
  like: (hit, region) => ask({ ...alone(), like: hit.id, region }),
  filter: (parts) => ask(parts),
  copy: (hit) => copyPaths([hit]),
  describes: () => server.describes,
});
const filters = new Filters((parts) => ask(parts));
const timeline = new Timeline((parts) => ask(parts));
const ways = new Ways((q) => {
  ways.remember(q);
  ask({ q });
});
const waiting = new Waiting(() => {
  dropAnswers();
  return waitedFor();
});
const server = follow({
  changed: () => refresh(),
  back: () => refresh(),
});

// Asking

/** What replaces words and pictures when a photo of the library is what is asked with. */
const alone = () => ({ q: "", pictures: [], region: null });

/** The page's address for a question and a photo that is open. */
function address(asked, photo = null) {
  const parameters = addressParameters(asked);
  if (photo !== null) parameters.set("photo", photo);
  return parameters.size ? `${api.BASE}?${parameters}` : api.BASE;
}

/** Ask the question with some parts changed. */
function ask(parts, { typed = false } = {}) {
  clearTimeout(pause);
  const next = changed(question, { q: finished(words.value), ...parts });
  const same = address(next) === address(question);
  if (same && !viewer.isOpen) return;
  if (answers) answers.scroll = scrollY;
  if (typed && typing) history.replaceState(null, "", address(next));
  else history.pushState(null, "", address(next));
  typing = typed;
  if (viewer.isOpen) viewer.hide();
  if (![words.value.trim(), finished(words.value)].includes(next.q)) words.value = next.q;
  show(next, { restore: same });
}

/**
 * Show a question's answers; with `restore`, where the page was when they were left, and with
 * `stay`, where it is.
 */
async function show(next, { restore = false, stay = false } = {}) {
  question = next;
  showQuestion();
  clearTimeout(complaint);
  byId("error").hidden = true;
  asked?.stop();
  const mine = (restore && kept.get(address(next))) || new Answers(next, pictures.blobs(next.pictures));
  asked = mine;
  offerTimeline();
  if (mine.hits.length === 0) {
    waiting.begin();
    const there = await fetched(mine);
    if (asked !== mine || !there) return; // what is asked by now is waited for; or was complained
  }
  waiting.end();
  answers = mine;
  keep(mine);
  showAnswers({ fresh: true, stay });
  if (!stay) scrollTo(0, restore ? mine.scroll : 0);
}

/** Fetch the next page of answers; whether that went well. */
async function fetched(mine) {
  byId("photos").setAttribute("aria-busy", "true");
  try {
    await mine.more();
    if (asked === mine) tellError(null);
    return true;
  } catch (error) {
    if (error.name === "AbortError" || asked !== mine) return false;
    if (!(error instanceof api.ApiError)) throw error;
    if (withoutPicture(mine.question, error)) return false;
    // Who is typing may be about to make sense.
    if (typing && error.status === 400) complaint = setTimeout(() => complain(error), COMPLAINT);
    else complain(error);
    return false;
  } finally {
    if (asked === mine) byId("photos").removeAttribute("aria-busy");
  }
}

/** Go on without a picture that the server cannot use, with what it says; whether it is one. */
function withoutPicture({ pictures: keys }, error) {
  const key = keys.filter(pictures.isHeld)[error.picture ?? -1];
  if (key === undefined) return false;
  pictures.drop(key);
  toast(sentence(error.message), 6000);
  const next = changed(question, { pictures: keys.filter((other) => other !== key) });
  history.replaceState(history.state, "", address(next));
  show(next, { stay: true });
  return true;
}

function complain(error) {
  dropAnswers();
  waiting.end();
  tellError(error);
}

async function more() {
  const mine = answers;
  if (!mine || mine.complete || mine.busy || mine !== asked) return;
  if ((await fetched(mine)) && mine === answers) showAnswers({ fresh: false });
}

/** Ask again, since the library has changed or the server is back. */
function refresh() {
  kept.clear();
  offerFacets();
  // Whoever is looking at photos further down, or at one of them, is not disturbed.
  const undisturbed = !answers || (scrollY < innerHeight / 2 && !viewer.isOpen);
  if (undisturbed || byId("error").hidden === false) show(question, { stay: true });
}

function keep(mine) {
  const key = address(mine.question);
  kept.delete(key);
  kept.set(key, mine);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

// Showing

function showQuestion() {
  const asks = isAsked(question);
  document.title = question.q ? `${question.q} · clipsearch` : "clipsearch";
  byId("clear").hidden = !asks && !words.value;
  byId("examples").replaceChildren(
    ...question.pictures.filter(pictures.isHeld).map((key) => example(pictures.urlOf(key), null, "your picture", {
      pictures: question.pictures.filter((other) => other !== key),
    })),
    ...(question.like === null ? [] : [example(
      api.thumbnailUrl(question.like, question.region ? 640 : 160), question.region,
      question.region ? "a part of a photo" : "a photo", { like: null, region: null },
    )]),
  );
  words.placeholder = asks && !question.q ? "Add words" : "Search your photos";
  filters.show(question);
  timeline.show(question);
}

/** A picture that is asked with, as a chip that can be taken away. */
function example(source, region, name, without) {
  return el("li", { className: "example" },
    el("button", {
      type: "button", title: "Take this picture away", ariaLabel: `Searching with ${name}. Take it away`,
      onclick: () => {
        ask(without);
        words.focus();
      },
    }, cropped(source, region), icon("close")));
}

function showAnswers({ fresh, stay = false }) {
  const { hits, complete, certain, nothing, total } = answers;
  keepFocus(() => showNotices(answers), byId("photos"));
  grid.show(sections(answers, months), { hold: !complete, fresh, stay });
  const summary = summaryOf({ hits, complete, certain, nothing, total });
  byId("summary").textContent = summary;
  if (fresh) byId("announcer").textContent = summary;
}

function showNotices({ hits, nothing, none }) {
  byId("nothing").hidden = !(isWords(question) && nothing);
  byId("nothing-asked").textContent = question.q.trim();
  const narrows = isAsked(question) || isFiltered(question); // of no photos at all, server.js tells
  byId("no-match").hidden = hits.length > 0 || server.isEmpty || !narrows;
  const { title, text } = noneName(none ?? { reason: "filters" }, isFiltered(question));
  byId("no-match-text").textContent = title;
  byId("no-match-more").textContent = text;
  byId("no-match-clear").hidden = !isFiltered(question);
  byId("no-match-unquote").hidden = none?.reason !== "quotes";
  ways.show(!isAsked(question) && hits.length > 0);
}

/** What was found, in a line; it counts what stands out and leaves numbers of mere rank alone. */
function summaryOf({ hits, complete, certain, nothing, total }) {
  if (hits.length === 0) return "No photos";
  if (!isAsked(question)) return count(total ?? hits.length);
  if (certain === null) return `${count(total ?? hits.length)}, best first`;
  if (nothing) return isWords(question) ? "Nothing seems to fit" : "Nothing much alike";
  if (certain === 0) return "None for certain";
  const standing = hits.slice(0, certain).filter(standsOut).length;
  if (certain === hits.length && !complete) return `More than ${count(standing)} stand out`;
  return `${count(standing)} ${standing === 1 ? "stands" : "stand"} out`;
}

/** Take away the answers to another question than the one that is asked now. */
function dropAnswers() {
  if (!answers || address(answers.question) === address(question)) return;
  answers = null;
  keepFocus(() => {
    grid.show([], { hold: true, fresh: true });
    byId("nothing").hidden = byId("no-match").hidden = byId("ways").hidden = true;
  }, byId("photos"));
  byId("summary").textContent = "";
}

function waitedFor() {
  const q = question.q.trim();
  if (needsEyes(question)) {
    return server.seesPictures ? { title: "Looking at the picture", text: "" } : {
      title: "Getting ready to look at pictures",
      text: "The model is being loaded; only the first picture waits for it.",
    };
  }
  return { title: q ? `Searching for “${q}”` : "Fetching the photos", text: "" };
}

function tellError(error) {
  const box = byId("error");
  if (error === null || error.status === 0 || error.status === 503) {
    box.hidden = true; // a server that is away or loading is told of by its own notice
    if (error) server.lost();
    return;
  }
  box.hidden = false;
  box.textContent = error.status === 401
    ? "This page needs its token: open the link that clipsearch serve has printed."
    : sentence(error.message);
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`.replace(/\.\.$/, ".");

async function copyPaths(hits) {
  await copyText(hits.map(({ path }) => path).join("\n"));
  toast(hits.length === 1 ? "The path is copied" : `${count(hits.length, "path")} copied`);
}

function toast(text, milliseconds = 2000) {
  const box = byId("toast");
  (viewer.isOpen ? byId("viewer") : document.body).append(box); // what is outside is not seen
  box.textContent = ""; // or the same words would not be read out again
  setTimeout(() => { box.textContent = text; });
  box.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => box.classList.remove("shown"), milliseconds);
}

// What there is to choose from

async function offerFacets() {
  try {
    const facets = await api.facets("");
    months = facets.months;
    timeline.span(months);
    filters.offer(facets);
    if (answers && !isAsked(question)) showAnswers({ fresh: false });
    offerTimeline();
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error; // of the server's state, server.js tells
  }
}

/** The months of the photos that all filters but the dates leave. */
async function offerTimeline() {
  const others = filterParameters(question, ["since", "until"]);
  if (others.size === 0) {
    timeline.offer(months);
    return;
  }
  const mine = question;
  try {
    const facets = await api.facets(others);
    if (mine === question) timeline.offer(facets.months);
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
  }
}

// One photo

/** Open a photo, among the answers or others, to which arrows lead from it. */
function openPhoto(hit, others = null) {
  among = others;
  ways.remember(question.q); // what was found is worth it
  clearTimeout(pause); // words typed a moment ago are asked when the photo is closed again
  history.pushState({ viewer: true }, "", address(question, hit.id));
  showPhoto(hit);
}

function closePhoto() {
  if (history.state?.viewer) history.back();
  else {
    history.replaceState(null, "", address(question));
    hidePhoto();
  }
}

function hidePhoto() {
  const { id } = viewer.photo;
  viewer.hide();
  grid.focusPhoto(id);
  if (finished(words.value) !== finished(question.q)) ask({}, { typed: true });
}

function showPhoto(hit) {
  const hits = among ?? answers?.hits ?? [];
  const index = hits.findIndex(({ id }) => id === hit.id);
  viewer.show(hit, { first: index <= 0, last: index < 0 || index === hits.length - 1 });
  for (const other of [hits[index + 1], hits[index - 1]]) if (index >= 0 && other) viewer.prepare(other);
  document.title = `${photoName(hit)} · clipsearch`;
  if (!among && index > hits.length - 10) more();
}

async function step(by) {
  const hits = among ?? answers?.hits ?? [];
  const index = hits.findIndex(({ id }) => id === viewer.photo.id);
  if (index < 0) return;
  if (!among && index + by === hits.length - 1) await more();
  const hit = hits[index + by];
  if (!hit || !viewer.isOpen) return;
  history.replaceState(history.state, "", address(question, hit.id));
  showPhoto(hit);
}

/** Bring the photo that the address names up, or the one that is open down. */
async function followAddress() {
  const id = Number(new URLSearchParams(location.search).get("photo"));
  if (!id) {
    if (viewer.isOpen) hidePhoto();
    return;
  }
  if (viewer.photo?.id === id) return;
  try {
    const hit = (among ?? answers?.hits)?.find((known) => known.id === id) ?? (await api.photo(id));
    showPhoto(hit);
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    toast("That photo is not in the library any more");
    closePhoto();
  }
}

// What a person does

words.addEventListener("input", () => {
  clearTimeout(pause);
  byId("clear").hidden = !words.value && !isAsked(question);
  pause = setTimeout(() => ask({}, { typed: true }), PAUSE);
});
words.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") {
    event.preventDefault();
    grid.focus();
  }
  if (event.key === "Backspace" && words.value === "") byId("examples").querySelector("li:last-child button")?.click();
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  typing = false;
  ask({ q: words.value.trim() });
  ways.remember(finished(question.q));
  if (matchMedia("(pointer: coarse)").matches) words.blur(); // puts the keyboard away
});
byId("clear").addEventListener("click", () => {
  ask({ ...alone(), like: null });
  words.focus();
});
byId("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  ask(NOTHING);
  scrollTo(0, 0);
});
byId("no-match-clear").addEventListener("click", () => ask(unfiltered(question)));
byId("no-match-unquote").addEventListener("click", () => ask({ q: unquoted(question.q) }));

addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, select, textarea, [contenteditable]");
  if (writing || viewer.isOpen || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {
    "/": () => {
      words.focus();
      words.select();
    },
    ...(selection.isOn && { Escape: () => selection.clear() }),
    ...(selection.hits.length > 0 && { c: () => copyPaths(selection.hits) }),
  }[event.key];
  if (!act || event.defaultPrevented || document.querySelector(":popover-open")) return;
  event.preventDefault();
  act();
});
addEventListener("popstate", async () => {
  clearTimeout(pause);
  typing = false;
  const next = fromAddress(location.search);
  if (address(next) !== address(question)) {
    if (answers) answers.scroll = scrollY;
    if (viewer.isOpen) viewer.hide();
    words.value = next.q;
    await show(next, { restore: true });
  }
  followAddress();
});
pictures.receive((keys) => {
  if (viewer.isOpen) viewer.hide();
  ask({ pictures: [...question.pictures, ...keys], like: null, region: null });
  words.focus();
}, (reason) => toast(reason, 6000));

// The page's own settings

function settings() {
  const root = document.documentElement;
  openBelow(byId("settings"), byId("settings-open"));
  for (const choice of document.querySelectorAll("[name=theme]")) {
    choice.checked = choice.value === (localStorage.getItem("theme") ?? "");
    choice.addEventListener("change", () => {
      root.dataset.theme = choice.value;
      localStorage.setItem("theme", choice.value);
    });
  }
  const numbers = byId("numbers");
  numbers.checked = localStorage.getItem("numbers") === "yes";
  root.classList.toggle("numbers", numbers.checked);
  numbers.addEventListener("change", () => {
    root.classList.toggle("numbers", numbers.checked);
    localStorage.setItem("numbers", numbers.checked ? "yes" : "no");
  });
}

async function start() {
  history.scrollRestoration = "manual";
  settings();
  const first = fromAddress(location.search);
  words.value = first.q;
  offerFacets();
  ways.offer();
  await show(changed(first, { pictures: first.pictures.filter(pictures.isHeld) }));
  followAddress();
}

// A finger's keyboard would cover the photos before anything was asked.
if (!matchMedia("(pointer: coarse)").matches) words.focus();
start();
