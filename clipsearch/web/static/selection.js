/** Several photos that were chosen, and what can be done with them. */

import { zipUrl } from "./api.js";
import { byId, keepFocus } from "./dom.js";
import { count } from "./words.js";

const MOST = 1000; // in one zip, as the server has it

export class Selection {
  #hits = new Map(); // by the photos' ids, in the order in which they were chosen
  #tell;
  #choosing = false; // whether a click chooses also where nothing is chosen yet

  /** @param {{changed: () => void, copy: (hits) => void, open: (hits) => void}} tell */
  constructor(tell) {
    this.#tell = tell;
    byId("select").addEventListener("click", () => {
      if (this.isOn) this.clear();
      else this.#set(() => {
        this.#choosing = true;
      });
    });
    byId("selected-clear").addEventListener("click", () => this.clear());
    byId("selected-copy").addEventListener("click", () => tell.copy(this.hits));
    byId("selected-open").addEventListener("click", () => tell.open(this.hits));
  }

  get hits() {
    return [...this.#hits.values()];
  }

  /** Whether a click chooses a photo, and does not open it. */
  get isOn() {
    return this.#choosing || this.#hits.size > 0;
  }

  has(id) {
    return this.#hits.has(id);
  }

  /** Choose a photo, or leave it again. */
  toggle(hit) {
    this.#set(() => {
      if (!this.#hits.delete(hit.id)) this.#hits.set(hit.id, hit);
    });
  }

  /** Choose all of some photos. */
  add(hits) {
    this.#set(() => {
      for (const hit of hits) this.#hits.set(hit.id, hit);
    });
  }

  clear() {
    this.#set(() => {
      this.#hits.clear();
      this.#choosing = false;
    });
  }

  #set(change) {
    change();
    const { size } = this.#hits;
    keepFocus(() => {
      byId("selected").hidden = !this.isOn;
    }, byId("select"));
    byId("selected-count").textContent = size ? `${count(size)} selected` : "Choose photos";
    byId("select").setAttribute("aria-pressed", String(this.isOn));
    for (const name of ["copy", "open"]) byId(`selected-${name}`).disabled = size === 0;
    const link = byId("selected-zip");
    const fits = size > 0 && size <= MOST;
    link.title = size > MOST ? `At most ${count(MOST)} at once` : "Download as a zip";
    link.setAttribute("aria-disabled", String(!fits));
    if (fits) link.href = zipUrl([...this.#hits.keys()]);
    else link.removeAttribute("href");
    this.#tell.changed();
  }
}
