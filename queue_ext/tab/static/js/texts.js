// All texts of the tab. A language is one file in ../texts; the form on the server reads the same ones.
const LANGUAGES = ["en", "zh"];
const COMPLETE = ["en", "zh"]; // a test sees to it
const MINUTE = 60; // seconds
const EXACT = 300; // seconds; below it minutes are told with their tens of seconds
let words = {};
let language = "en";

/** Load the first of the reader's languages that we have; one that says everything needs no English below it. */
export async function loadTexts(wanted = navigator.languages || [navigator.language]) {
  language = wanted.map((name) => name.toLowerCase().split("-")[0]).find((name) => LANGUAGES.includes(name)) || "en";
  const files = await Promise.all([...new Set([...(COMPLETE.includes(language) ? [] : ["en"]), language])].map(read));
  words = Object.assign({}, ...files);
}

async function read(name) {
  const answer = await fetch(new URL(`../texts/${name}.json`, import.meta.url));
  return answer.ok ? answer.json() : {};
}

/** The text `key`; with `n` the form for that number (`key.one`, `key.other`). */
export function t(key, values = {}) {
  const plural = `${key}.${values.n === 1 ? "one" : "other"}`;
  const text = words[plural] ?? words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Seconds as a person says them: "40 s", "3 min 20 s", "1 h 20 min". */
export function duration(seconds) {
  if (seconds < MINUTE) return t("time.s", { s: Math.max(1, Math.round(seconds)) });
  const tens = Math.round(seconds / 10) * 10;
  if (tens < EXACT && tens % MINUTE) return t("time.min_s", { min: Math.floor(tens / MINUTE), s: tens % MINUTE });
  const minutes = Math.round(seconds / MINUTE);
  if (minutes < 60) return t("time.min", { min: minutes });
  return t("time.h", { h: Math.floor(minutes / 60), min: minutes % 60 });
}

/** Seconds from now as an estimate: "about 40 s"; in steps of five, since nobody knows it better. */
export function about(seconds) {
  const rough = seconds > 20 && seconds < MINUTE ? Math.ceil(seconds / 5) * 5 : seconds;
  return t("about", { time: duration(Math.max(1, rough)) });
}

/** A time of day, with the date where it is not today, or where other days stand beside it (`dated`). */
export function moment(iso, dated = false) {
  const when = new Date(iso);
  const today = !dated && when.toDateString() === new Date().toDateString();
  return when.toLocaleString(language, today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" });
}

/** The same moment by the clock of a zone, "Mon 09:00 there"; nothing where that is what the reader's shows. */
export function elsewhere(iso, zone) {
  const read = (timeZone) => new Date(iso).toLocaleString(language, { weekday: "short", hour: "numeric", minute: "2-digit", timeZone });
  try {
    const time = read(zone);
    return time === read(undefined) ? "" : t("schedule.there", { time });
  } catch {
    return ""; // a zone that only the server knows
  }
}
