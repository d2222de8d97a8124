// Strings of a cluster as they are shown: marks that turn the direction of writing would let one name read as another.

const TURNS = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/g;

/** A text, its invisible marks of direction made visible. */
export const plain = (text) => text.replace(TURNS, "\uFFFD");

/** Seconds since the epoch as a time of day, where the reader is or in another zone ("utc", "Asia/Seoul"). */
export function clockOf(seconds, zone = "browser") {
  const options = {hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit"};
  if (zone !== "browser") options.timeZone = zone === "utc" ? "UTC" : zone;
  try { return new Date(seconds * 1000).toLocaleTimeString([], options); } catch { return new Date(seconds * 1000).toISOString().slice(11, 19); }
}

/** As much of a text as fits a canvas' width, with an ellipsis. */
export function clip(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const half = (low + high + 1) >> 1;
    if (c.measureText(`${text.slice(0, half)}…`).width <= width) low = half;
    else high = half - 1;
  }
  return `${text.slice(0, low)}…`;
}
