/**
 * How an error message names what was received.
 *
 * @module
 */

import { copyHere, otherCopy } from "./copies.ts";

const charactersMax = 40;
const beginningCharacters = 20;

/** Words that begin with the sound of a vowel; "a Uint8Array", but "an UnknownThing". */
const vowelSound = /^([aeio]|u[mnp](?!i))/i;

/** A value in an error message: short, and never a throw, whatever the value is. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case "string":
      return value.length > charactersMax ? describeLong(value) : JSON.stringify(value);
    case "bigint":
      return shortened(`${value}n`, "a bigint");
    case "symbol":
      return shortened(String(value), "a symbol");
    case "function":
      return "a function";
    case "object":
      return value === null ? "null" : describeObject(value);
    default:
      return String(value);
  }
}

/** A noun with the article that it is spoken with. */
export function withArticle(noun: string): string {
  return `${vowelSound.test(noun) ? "an" : "a"} ${noun}`;
}

function describeLong(text: string): string {
  const beginning = JSON.stringify(text.slice(0, beginningCharacters));
  return `a string of ${text.length} characters that begins with ${beginning}`;
}

function shortened(text: string, kind: string): string {
  return text.length > charactersMax ? `${kind} of ${text.length} characters` : text;
}

function describeObject(value: object): string {
  try {
    if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
    const name = className(value);
    const other = otherCopy(value);
    return (name === "" || name === "Object" ? "an object" : withArticle(name)) +
      (other === undefined
        ? ""
        : ` of another copy of Millrace (${other}; this one is ${copyHere})`);
  } catch {
    return "an object that throws when it is looked at"; // a Proxy
  }
}

/** The name of an object's class; of a generator, which has no constructor of its own, its tag. */
function className(value: object): string {
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name;
  if (typeof name === "string" && name !== "" && name.length <= charactersMax) return name;
  const tag: unknown = (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag];
  return typeof tag === "string" && tag.length <= charactersMax ? tag : "";
}
