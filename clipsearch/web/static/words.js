/** How facts are said: dates, places, sizes, paths and numbers of photos. */

const NUMBER = new Intl.NumberFormat("en");

/** "1 photo", "1,204 photos". */
export function count(number, noun = "photo") {
  return `${NUMBER.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** "1,204". */
export const figure = (number) => NUMBER.format(number);

/** The date on the clock where the photo was taken, whatever zone this browser is in; or null. */
export function clock(takenAt) {
  const parts = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d))?/.exec(takenAt ?? "");
  if (!parts) return null;
  const [year, month, day, hour = 0, minute = 0] = parts.slice(1).map((part) => Number(part ?? 0));
  return new Date(Date.UTC(year, month - 1, day, hour, minute));
}

function formatter(options) {
  const format = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
  return (date) => format.format(date);
}

export const longDay = formatter({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
export const shortDay = formatter({ day: "numeric", month: "short", year: "numeric" });
export const timeOfDay = formatter({ hour: "2-digit", minute: "2-digit" });
const longMonth = formatter({ month: "long", year: "numeric" });

/** "2024-05" as "May 2024", "2024-05-31" as "31 May 2024", "2024" as it is. */
export function dateName(text) {
  if (/^\d{4}-\d\d$/.test(text)) return longMonth(clock(`${text}-01`));
  const date = clock(text);
  return date ? shortDay(date) : text;
}

/** A span of dates, as "May 2024", "since 2019" or "2019 – 2021". */
export function spanName(since, until) {
  if (since && until) {
    return since === until ? dateName(since) : `${dateName(since)} – ${dateName(until)}`;
  }
  return since ? `since ${dateName(since)}` : `until ${dateName(until)}`;
}

/** "54.18° N, 7.89° E". */
export function placeName(latitude, longitude) {
  const degrees = (value, positive, negative) =>
    `${Math.abs(value).toFixed(2)}° ${value < 0 ? negative : positive}`;
  return `${degrees(latitude, "N", "S")}, ${degrees(longitude, "E", "W")}`;
}

/** "4,000 × 3,000", and from a megapixel on "12 MP". */
export function sizeName(width, height) {
  const pixels = (width * height) / 1e6;
  const exact = `${width} × ${height}`;
  return pixels < 0.95 ? exact : `${exact} · ${pixels.toFixed(pixels < 9.95 ? 1 : 0)} MP`;
}

/** "3.4 MB", as file managers count. */
export function bytesName(bytes) {
  const units = ["bytes", "KB", "MB", "GB"];
  const power = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  const number = bytes / 1000 ** power;
  return `${number.toFixed(power && number < 9.95 ? 1 : 0)} ${units[power]}`;
}

/** "★★★★ or more" */
export const starsName = (stars) => "★".repeat(stars) + (Number(stars) < 5 ? " or more" : "");

/** The settings of a camera as photographers write them: ["1/250 s", "f/2.8", "ISO 400", "35 mm"]. */
export function exposureNames({ exposure_time: time, aperture, iso, focal_length: length, focal_length_35mm: film }) {
  const differs = length && film && Math.abs(film - length) >= 1;
  return [
    time ? timeName(time) : null,
    aperture ? `f/${short(aperture)}` : null,
    iso ? `ISO ${iso}` : null,
    length ? `${short(length)} mm${differs ? ` (${short(film)} mm on 35 mm film)` : ""}` : null,
  ].filter(Boolean);
}

const short = (number) => String(Number(number.toFixed(1)));

/** "1/250 s", "0.6 s", "30 s": fractions as long as cameras write them so. */
const timeName = (seconds) =>
  seconds < 0.35 ? `1/${figure(Math.round(1 / seconds))} s` : `${short(seconds)} s`;

/** "about 7 minutes". */
export function durationName(seconds) {
  if (seconds < 90) return `about ${count(Math.max(1, Math.round(seconds)), "second")}`;
  if (seconds < 5400) return `about ${count(Math.round(seconds / 60), "minute")}`;
  return `about ${count(Math.round(seconds / 3600), "hour")}`;
}

const SEPARATOR = /[/\\]/;

/** The last part of a path. */
export function baseName(path) {
  return path.split(SEPARATOR).filter(Boolean).at(-1) ?? path;
}

/** A path without its last part. */
export function parentName(path) {
  return path.slice(0, path.length - baseName(path).length).replace(/(?<=.)[/\\]$/, "");
}

/** What a photo is called: its title, its caption, or its file's name. */
export function photoName(photo) {
  return photo.title || photo.caption || baseName(photo.path);
}

/** A question for photos about which just these words are written. */
export const quoted = (words) => `"${words.replaceAll('"', " ").trim()}"`;

/** The same words with no quotes among them. */
export const unquoted = (words) => words.replaceAll('"', " ").replace(/\s+/g, " ").trim();

/** Why a question found no photo, as `{title, text}`. */
export function noneName({ reason, nowhere }, isFiltered) {
  const these = isFiltered ? "these photos" : "your photos";
  const unwritten = (nowhere ?? []).map((words) => `“${words}”`).join(" and ");
  const plural = nowhere?.length > 1;
  return {
    quotes: {
      title: "No photo has all the words in quotes.",
      text: unwritten
        ? `${unwritten} ${plural ? "are" : "is"} in no name, title, caption or keyword, nor in the text of a picture. Without quotes words are looked for in pictures too.`
        : `Each is written somewhere, and not all about one of ${these}.`,
    },
    minus: { title: "Every photo that is left has words in quotes after a minus.", text: "" },
    unembedded: { title: `None of ${these} was looked at yet.`, text: "clipsearch index does that." },
    relevance: { title: "No photo fits for certain.", text: "Without “Only what stands out” the nearest are shown." },
    itself: { title: "There is no other photo to compare with.", text: "" },
  }[reason] ?? { title: "No photo passes these filters.", text: "" };
}
