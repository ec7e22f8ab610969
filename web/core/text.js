// What the console says, in the language of the person: texts, numbers, sizes and times.
//
// The tables are in text/; one language is loaded. A text that is missing shows its key, and a test says so.

import { JsonError } from "./json.js";

const LANGUAGES = ["en", "zh"];

function chosen() {
  try {
    const stored = localStorage.getItem("vardr.language");
    if (LANGUAGES.includes(stored)) return stored;
  } catch {
    // Nothing may be stored: the browser's choice holds.
  }
  return navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh")) && !navigator.language.startsWith("en") ? "zh" : "en";
}

export const language = chosen();
const { texts: families } = await import(`../text/${language}.js`);
const texts = Object.fromEntries(Object.entries(families).flatMap(([family, words]) => Object.entries(words).map(([word, text]) => [`${family}.${word}`, text])));
document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";

// Changes to the other language; the page is loaded anew at the place where it is.
export function otherLanguage() {
  localStorage.setItem("vardr.language", language === "zh" ? "en" : "zh");
  location.reload();
}

const locale = language === "zh" ? "zh-CN" : "en-GB";
const plural = new Intl.PluralRules(locale);
const numbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const instants = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
const distances = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });

export const number = (value) => numbers.format(value);

// The text under a key, with `{name}` replaced; under `key.one` when `count` is one and there is such a text.
export function t(key, values = {}) {
  const one = values.count !== undefined && plural.select(values.count) === "one" ? texts[`${key}.one`] : undefined;
  const text = one ?? texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name];
    // A revision is a name more than a number.
    return value === undefined ? all : typeof value === "number" && name !== "revision" ? number(value) : value;
  });
}

// What went wrong, as the server says it; where no answer came, in our words.
export const told = (problem) => {
  if (problem.code === "unreachable") return t(problem.isUnsure ? "problem.unsure" : "problem.unreachable");
  const { line, column, reason } = problem;
  if (problem instanceof JsonError) return t("json.error", { line, column, reason: t(`json.${reason}`) });
  return problem.detail ?? problem.title ?? problem.message ?? String(problem);
};

const UNITS = ["B", "KiB", "MiB", "GiB"];
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < UNITS.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${number(value)} ${UNITS[unit]}`;
}

// Seconds as a countdown shows them: `9 s`, `4:05`, `1:02:03`, `3 d 4:00:00`.
export function countdown(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  if (left < 60) return `${left} s`;
  const pad = (value) => String(value).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(left / 86_400), Math.floor(left / 3600) % 24, Math.floor(left / 60) % 60];
  const tail = `${pad(minutes)}:${pad(left % 60)}`;
  if (days > 0) return `${days} d ${pad(hours)}:${tail}`;
  return hours > 0 ? `${hours}:${tail}` : `${minutes}:${pad(left % 60)}`;
}

export const instant = (time) => instants.format(new Date(time));

// How long ago a time was, in the largest unit that fits.
export function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  for (const [unit, length] of [["day", 86_400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= length) return distances.format(Math.trunc(seconds / length), unit);
  }
  return distances.format(Math.trunc(seconds), "second");
}
