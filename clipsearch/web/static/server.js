/** The server's state: watched, and said plainly where it keeps a person from finding photos. */

import * as api from "./api.js";
import { byId, keepFocus } from "./dom.js";
import { count, durationName, figure } from "./words.js";

const CALM = 5000; // milliseconds between two looks
const BUSY = 1000;
const NEWS = 5000; // between two times that new photos are told of while an index run goes on

/**
 * Watch the server.
 * @param {{changed: () => void, back: () => void}} tell `changed`: the number of photos is another
 *   one; `back`: it answers again, or its model is ready now
 */
export function follow(tell) {
  const server = new Server(tell);
  server.look();
  return server;
}

class Server {
  #tell;
  #status = null; // as last told
  #well = true; // whether the last look found it answering, its model ready
  #timer = 0;
  #told = { photos: null, at: 0 };

  constructor(tell) {
    this.#tell = tell;
    byId("offer-take").addEventListener("click", () => this.#takeOffer());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.look();
    });
  }

  /** Whether there are no photos at all. */
  get isEmpty() {
    return this.#status?.photos === 0;
  }

  /** Whether what looks at pictures is loaded. */
  get seesPictures() {
    return this.#status?.pictures !== "loading";
  }

  /** Whether there is a model that describes parts of photos. */
  get describes() {
    return Boolean(this.#status?.describes);
  }

  /** A request has failed: look at once. */
  lost() {
    this.#well = false;
    this.look();
  }

  async look() {
    clearTimeout(this.#timer);
    let status = null;
    try {
      status = await api.status();
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      if (error.status === 401) return; // the search tells
    }
    const wasWell = this.#well;
    this.#well = status !== null && status.state !== "loading";
    this.#status = status ?? this.#status;
    this.#show(status);
    if (this.#well && !wasWell) this.#tell.back();
    else if (status) this.#tellNews(status);
    const calm = this.#well && !status.indexing && !status.offer?.taken && this.seesPictures;
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.look(), calm ? CALM : BUSY);
  }

  #tellNews({ photos, indexing }) {
    const first = this.#told.photos === null;
    if (photos === this.#told.photos || (indexing && Date.now() - this.#told.at < NEWS)) return;
    this.#told = { photos, at: Date.now() };
    if (!first) this.#tell.changed();
  }

  #show(status) {
    byId("gone").hidden = status !== null;
    byId("loading").hidden = status?.state !== "loading";
    const offer = status?.offer;
    const run = status?.indexing ?? (offer?.taken ? { done: 0, total: 0 } : null); // it is about to begin
    keepFocus(() => {
      byId("empty").hidden = status?.photos !== 0 || Boolean(run);
    }, byId("photos"));
    this.#showOffer(offer);
    this.#showIndexing(run);
  }

  #showOffer(offer) {
    byId("offer").hidden = !offer;
    if (!offer) return;
    byId("offer-folder").textContent = offer.folder;
    byId("offer-problem").hidden = !offer.problem;
    byId("offer-problem").textContent = offer.problem ?? "";
  }

  async #takeOffer() {
    try {
      await api.takeOffer();
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error; // the next look tells
    }
    this.look();
  }

  #showIndexing(run) {
    byId("indexing").hidden = !run;
    if (!run) return;
    const { done, total, rate, seconds_left: left } = run;
    const bar = byId("indexing-bar");
    if (total) {
      bar.max = total;
      bar.value = done;
    } else bar.removeAttribute("value"); // it is not known yet
    const parts = [
      total ? `${figure(done)} of ${count(total)}` : "looking at the folders",
      rate ? `${rate < 10 ? rate.toFixed(1) : figure(Math.round(rate))} a second` : null,
      typeof left === "number" && done < total ? `${durationName(left)} left` : null,
    ];
    byId("indexing-text").textContent = parts.filter(Boolean).join(" · ");
  }
}
