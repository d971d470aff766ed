/**
 * Where the library makes its errors, and what it says there, read from its sources.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** A place where an error is made. */
export interface ErrorSite {
  readonly file: string;
  readonly name: string;
  /** The code, if it stands there. */
  readonly code: string | undefined;
  /** The message; `…` stands for what is known only at run time, `{a|b}` for one of two. */
  readonly text: string;
}

const root = new URL("../../", import.meta.url);

/** Every place in src/ and ffi/ where an error is made. */
export function errorSites(): ErrorSite[] {
  return ["src", "ffi"].flatMap((directory) =>
    readdirSync(new URL(directory, root))
      .filter((name) => name.endsWith(".ts"))
      .flatMap((name) => sitesOf(`${directory}/${name}`))
  );
}

function sitesOf(file: string): ErrorSite[] {
  const text = readFileSync(fileURLToPath(new URL(file, root)), "utf8");
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const sites: ErrorSite[] = [];
  const visit = (node: ts.Node): void => {
    const site = siteOf(node);
    if (site !== undefined) sites.push({ file, ...site });
    ts.forEachChild(node, visit);
  };
  visit(source);
  return sites;
}

/** Functions that make an error of an action, a name, and what was expected and received. */
const makers = new Map([["wrongType", "TypeError"], ["outOfRange", "RangeError"]]);

function siteOf(node: ts.Node): Omit<ErrorSite, "file"> | undefined {
  if (ts.isNewExpression(node) && ts.isIdentifier(node.expression)) {
    const name = node.expression.text;
    if (!name.endsWith("Error")) return undefined;
    const texts = (node.arguments ?? []).slice(0, 2).map(textOf);
    // The classes of this library take a code first.
    if (/^(Type|Range|Eval)?Error$/.test(name) || name === "UnsupportedPlatformError") {
      return { name, code: undefined, text: texts[0] ?? "" };
    }
    return { name, code: texts[0], text: texts[1] ?? "" };
  }
  if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
    const name = makers.get(node.expression.text);
    if (name === undefined) return undefined;
    const [action = "", what = "", expected = ""] = node.arguments.map(textOf);
    const text = `Cannot ${action}: ${what} must be ${expected}, received …`;
    return { name, code: undefined, text };
  }
}

/** What an expression says, as far as it is written there. */
function textOf(node: ts.Expression): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    return node.head.text +
      node.templateSpans.map(({ expression, literal }) => textOf(expression) + literal.text)
        .join("");
  }
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    return textOf(node.left) + textOf(node.right);
  }
  if (ts.isConditionalExpression(node)) {
    return `{${textOf(node.whenTrue)}|${textOf(node.whenFalse)}}`;
  }
  if (ts.isParenthesizedExpression(node)) return textOf(node.expression);
  return "…";
}
