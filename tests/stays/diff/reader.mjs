// What Node reads in JSON-RPC bodies; in and out as in reader.py.
import { readSync, writeSync } from "node:fs";

const bits = new DataView(new ArrayBuffer(8));

// By code points, as Python and Rust compare; < compares UTF-16.
function before(a, b) {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function canonical(value) {
  if (typeof value === "number") {
    bits.setFloat64(0, value);
    return "#" + bits.getBigUint64(0).toString(16).padStart(16, "0");
  }
  if (Array.isArray(value)) return "[" + value.map(canonical).join(",") + "]";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value).sort(before);
  return "{" + members.map((key) => JSON.stringify(key) + ":" + canonical(value[key])).join(",") + "}";
}

function read(body) {
  try {
    const message = JSON.parse(body.toString("utf8"));
    const seen = ["id", "method", "params"].filter((key) => Object.hasOwn(message, key));
    return canonical(Object.fromEntries(seen.map((key) => [key, message[key]])));
  } catch (error) {
    return "REFUSED " + String(error).replaceAll("\n", " ");
  }
}

function take(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const count = readSync(0, bytes, at, length - at);
    if (count === 0) process.exit(0);
    at += count;
  }
  return bytes;
}

let lines = [];
for (;;) {
  const length = take(4).readUInt32LE(0);
  if (length > 0) {
    lines.push(read(take(length)) + "\n");
    continue;
  }
  const bytes = Buffer.from(lines.join(""));
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
  lines = [];
}
